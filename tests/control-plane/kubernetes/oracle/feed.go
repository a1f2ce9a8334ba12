package main

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// feed stands where an informer would: it keeps the handler, and the world calls it.
type feed struct {
	handler cache.ResourceEventHandler
}

func (f *feed) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	f.handler = handler
	return nil, nil
}

// nominator knows which waiting pods hold a place on which node, in the order of the case.
type nominator struct {
	pods map[string][]fwk.PodInfo
}

func (n *nominator) add(pod *v1.Pod) error {
	node := pod.Status.NominatedNodeName
	if node == "" {
		return nil
	}
	info, err := framework.NewPodInfo(pod)
	if err != nil {
		return err
	}
	n.pods[node] = append(n.pods[node], info)
	return nil
}

func (n *nominator) NominatedPodsForNode(node string) []fwk.PodInfo { return n.pods[node] }

// A case is one moment: nobody is nominated within it.
func (n *nominator) AddNominatedPod(klog.Logger, fwk.PodInfo, *fwk.NominatingInfo) {}
func (n *nominator) DeleteNominatedPodIfExists(*v1.Pod)                            {}
func (n *nominator) UpdateNominatedPod(klog.Logger, *v1.Pod, fwk.PodInfo)          {}
