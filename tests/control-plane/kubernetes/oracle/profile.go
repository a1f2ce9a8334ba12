package main

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"

	fwk "k8s.io/kube-scheduler/framework"
)

// profile is a framework with its plugins, and the one plugin of it that is asked more than the framework asks.
type profile struct {
	framework  framework.Framework
	preemption *dryPreemption
	stop       context.CancelFunc
}

// profilesKept bounds how many profiles stand ready; each costs a few hundred kB.
const profilesKept = 256

// profile gives the framework of a case's profile, made at its first use.
func (w *world) profile(text string) (*profile, error) {
	if known, ok := w.profiles[text]; ok {
		return known, nil
	}
	if len(w.profiles) >= profilesKept {
		for key, old := range w.profiles {
			old.stop()
			delete(w.profiles, key)
		}
	}
	wanted, err := readProfile(text)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	// Plugins register indexers under this name, and two of one name are refused.
	w.profilesMade++
	wanted.SchedulerName = fmt.Sprintf("profile-%d", w.profilesMade)
	ctx, stop := context.WithCancel(w.ctx)
	made := &profile{stop: stop}
	registry := plugins.NewInTreeRegistry()
	newPreemption := registry[defaultpreemption.Name]
	registry[defaultpreemption.Name] = func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		plugin, err := newPreemption(ctx, args, handle)
		if err != nil {
			return nil, err
		}
		made.preemption = &dryPreemption{DefaultPreemption: plugin.(*defaultpreemption.DefaultPreemption)}
		return made.preemption, nil
	}
	made.framework, err = frameworkruntime.NewFramework(ctx, registry, wanted,
		frameworkruntime.WithClientSet(w.client),
		frameworkruntime.WithInformerFactory(w.informers),
		frameworkruntime.WithSnapshotSharedLister(w.snapshot),
		frameworkruntime.WithMutableSnapshotLister(w.snapshot),
		frameworkruntime.WithSharedDRAManager(w.dra),
		frameworkruntime.WithSharedCSIManager(w.csi),
		frameworkruntime.WithPodNominator(w.nominator),
		frameworkruntime.WithParallelism(1),
	)
	if err != nil {
		stop()
		return nil, fmt.Errorf("profile: %w", err)
	}
	w.profiles[text] = made
	return made, nil
}

// readProfile defaults and checks a profile as kube-scheduler does with its configuration file.
func readProfile(text string) (*config.KubeSchedulerProfile, error) {
	if text == "" || text == "null" {
		configuration, err := latest.Default()
		if err != nil {
			return nil, err
		}
		return &configuration.Profiles[0], nil
	}
	file, err := json.Marshal(map[string]any{
		"apiVersion":     "kubescheduler.config.k8s.io/v1",
		"kind":           "KubeSchedulerConfiguration",
		"leaderElection": map[string]any{"leaderElect": false},
		"profiles":       []json.RawMessage{json.RawMessage(text)},
	})
	if err != nil {
		return nil, err
	}
	object, _, err := scheme.Codecs.UniversalDecoder().Decode(file, nil, nil)
	if err != nil {
		return nil, err
	}
	configuration, ok := object.(*config.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("decodes to a %T", object)
	}
	if err := validation.ValidateKubeSchedulerConfiguration(configuration); err != nil {
		return nil, err
	}
	return &configuration.Profiles[0], nil
}
