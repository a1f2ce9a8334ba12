package main

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourceapi "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	resourceslicetracker "k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"
)

// world is the state that the plugins read. It outlives the cases, because the plugins hold on to it; each case replaces all of it.
type world struct {
	ctx       context.Context
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	// stores by the type of what they hold: the indexers of informers that never run.
	stores    map[reflect.Type]cache.Indexer
	snapshot  *internalcache.Snapshot
	nominator *nominator
	dra       fwk.SharedDRAManager
	csi       fwk.CSIManager
	// Claims and device classes are read through event handlers, not from an indexer.
	claims   feed
	classes  cache.ResourceEventHandler
	sent     []any
	profiles map[string]*profile
	// How many profiles were ever made.
	profilesMade int
}

func newWorld() (*world, error) {
	metrics.Register()
	ctx := klog.NewContext(context.Background(), klog.Background())
	// Never called: nothing here starts an informer or binds.
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	w := &world{
		ctx:       ctx,
		client:    client,
		informers: factory,
		stores:    stores(factory),
		snapshot:  internalcache.NewEmptySnapshot(),
		nominator: &nominator{},
		csi:       nodevolumelimits.NewCSIManager(factory.Storage().V1().CSINodes().Lister()),
		profiles:  map[string]*profile{},
	}
	claims := assumecache.NewAssumeCache(klog.Background(), &w.claims, "ResourceClaim", "", nil)
	slices, err := resourceslicetracker.StartTracker(ctx, resourceslicetracker.Options{
		EnableDeviceTaintRules:   false,
		EnableConsumableCapacity: true,
		SliceInformer:            factory.Resource().V1().ResourceSlices(),
		KubeClient:               client,
	})
	if err != nil {
		return nil, fmt.Errorf("resource slices: %w", err)
	}
	manager := dynamicresources.NewDRAManager(ctx, claims, slices, factory)
	if handler, ok := manager.DeviceClassResolver().(cache.ResourceEventHandler); ok {
		w.classes = handler
	}
	w.dra = manager
	return w, nil
}

// stores names the indexers that listers of the plugins read.
func stores(factory informers.SharedInformerFactory) map[reflect.Type]cache.Indexer {
	core, storage, resource := factory.Core().V1(), factory.Storage().V1(), factory.Resource().V1()
	all := map[reflect.Type]cache.Indexer{}
	for object, informer := range map[runtime.Object]cache.SharedIndexInformer{
		&v1.Pod{}:                       core.Pods().Informer(),
		&v1.Node{}:                      core.Nodes().Informer(),
		&v1.Service{}:                   core.Services().Informer(),
		&v1.ReplicationController{}:     core.ReplicationControllers().Informer(),
		&v1.Namespace{}:                 core.Namespaces().Informer(),
		&v1.PersistentVolume{}:          core.PersistentVolumes().Informer(),
		&v1.PersistentVolumeClaim{}:     core.PersistentVolumeClaims().Informer(),
		&appsv1.ReplicaSet{}:            factory.Apps().V1().ReplicaSets().Informer(),
		&appsv1.StatefulSet{}:           factory.Apps().V1().StatefulSets().Informer(),
		&policyv1.PodDisruptionBudget{}: factory.Policy().V1().PodDisruptionBudgets().Informer(),
		&storagev1.StorageClass{}:       storage.StorageClasses().Informer(),
		&storagev1.CSINode{}:            storage.CSINodes().Informer(),
		&storagev1.CSIDriver{}:          storage.CSIDrivers().Informer(),
		&storagev1.CSIStorageCapacity{}: storage.CSIStorageCapacities().Informer(),
		&storagev1.VolumeAttachment{}:   storage.VolumeAttachments().Informer(),
		&resourceapi.ResourceSlice{}:    resource.ResourceSlices().Informer(),
		&resourceapi.DeviceClass{}:      resource.DeviceClasses().Informer(),
	} {
		all[reflect.TypeOf(object)] = informer.GetIndexer()
	}
	return all
}

// load puts the objects of a case, and the pod to be scheduled, in the place of those before.
func (w *world) load(parsed *parsedCase) error {
	byType := map[reflect.Type][]any{}
	for _, object := range append(slices.Clone(parsed.objects), parsed.pod) {
		kind := reflect.TypeOf(object)
		if _, isClaim := object.(*resourceapi.ResourceClaim); w.stores[kind] == nil && !isClaim {
			return fmt.Errorf("the oracle does not know what to do with a %T", object)
		}
		byType[kind] = append(byType[kind], object)
	}
	for kind, store := range w.stores {
		if err := store.Replace(byType[kind], ""); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	w.announce(byType)
	return w.takeSnapshot(parsed)
}

// announce tells those who listen to events that the objects of the case before are gone and that these are here.
func (w *world) announce(byType map[reflect.Type][]any) {
	for _, object := range w.sent {
		w.handlerOf(object).OnDelete(object)
	}
	w.sent = nil
	for _, kind := range []reflect.Type{reflect.TypeOf(&resourceapi.ResourceClaim{}), reflect.TypeOf(&resourceapi.DeviceClass{})} {
		for _, object := range byType[kind] {
			w.handlerOf(object).OnAdd(object, false)
			w.sent = append(w.sent, object)
		}
	}
}

func (w *world) handlerOf(object any) cache.ResourceEventHandler {
	if _, ok := object.(*resourceapi.DeviceClass); ok {
		return w.classes
	}
	return w.claims.handler
}

// takeSnapshot fills the snapshot that the plugins hold, through the scheduler's cache: nodes, and the pods on them that have not ended.
func (w *world) takeSnapshot(parsed *parsedCase) error {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	logger := klog.FromContext(ctx)
	schedulerCache := internalcache.New(ctx, nil, false, false)
	w.nominator.pods = map[string][]fwk.PodInfo{}
	for _, object := range parsed.objects {
		switch object := object.(type) {
		case *v1.Node:
			schedulerCache.AddNode(logger, object)
		case *v1.Pod:
			// The informer of kube-scheduler selects these away.
			if object.Status.Phase == v1.PodSucceeded || object.Status.Phase == v1.PodFailed {
				continue
			}
			if object.Spec.NodeName == "" {
				if err := w.nominator.add(object); err != nil {
					return err
				}
				continue
			}
			if err := schedulerCache.AddPod(logger, object); err != nil {
				return fmt.Errorf("pod %s/%s: %w", object.Namespace, object.Name, err)
			}
		}
	}
	fresh := internalcache.NewEmptySnapshot()
	if err := schedulerCache.UpdateSnapshot(logger, fresh); err != nil {
		return err
	}
	*w.snapshot = *fresh
	return nil
}

// nodes of the snapshot, by name.
func (w *world) nodes() (map[string]fwk.NodeInfo, []string, error) {
	list, err := w.snapshot.NodeInfos().List()
	if err != nil {
		return nil, nil, err
	}
	byName := make(map[string]fwk.NodeInfo, len(list))
	for _, info := range list {
		byName[info.Node().Name] = info
	}
	return byName, slices.Sorted(maps.Keys(byName)), nil
}
