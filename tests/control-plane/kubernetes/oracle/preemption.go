package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
	"k8s.io/kubernetes/pkg/scheduler/util"
)

// dryPreemption is DefaultPreemption without its deeds: it keeps every candidate where there is one, and leaves all other cases to the plugin itself,
// which has nothing to do in them either.
type dryPreemption struct {
	*defaultpreemption.DefaultPreemption
	found []preemption.Candidate
}

func (d *dryPreemption) PostFilter(
	ctx context.Context, state fwk.CycleState, pod *v1.Pod, statuses fwk.NodeToStatusReader,
) (*fwk.PostFilterResult, *fwk.Status) {
	found, err := d.dryRun(ctx, state, pod, statuses)
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	d.found = found
	if len(found) == 0 {
		return d.DefaultPreemption.PostFilter(ctx, state, pod, statuses)
	}
	node := d.best()[0]
	message := fmt.Sprintf("preemption: found a potential placement for pod on node %v, preempting %d victims", node, len(d.victims(node).Pods))
	return framework.NewPostFilterResultWithNominatedNode(node), fwk.NewStatus(fwk.Success, message)
}

// dryRun tries every node that preemption could help on: no offset, no limit on candidates.
func (d *dryPreemption) dryRun(
	ctx context.Context, state fwk.CycleState, pod *v1.Pod, statuses fwk.NodeToStatusReader,
) ([]preemption.Candidate, error) {
	if ok, _ := d.PodEligibleToPreemptOthers(ctx, pod, statuses.Get(pod.Status.NominatedNodeName)); !ok {
		return nil, nil
	}
	nodes, err := statuses.NodesForStatusCode(d.Evaluator.Handler.MutableSnapshotSharedLister().NodeInfos(), fwk.Unschedulable)
	if err != nil || len(nodes) == 0 {
		return nil, err
	}
	slices.SortFunc(nodes, func(a, b fwk.NodeInfo) int { return cmp.Compare(a.Node().Name, b.Node().Name) })
	budgets, err := d.Evaluator.PdbLister.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	// kube-scheduler lists them in the order of a map, and which of a pod's budgets is charged first decides what is left for the next pod: any
	// order is its answer, and this is the one that can be compared.
	slices.SortFunc(budgets, func(a, b *policyv1.PodDisruptionBudget) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	found, _, err := d.Evaluator.DryRunPreemption(ctx, state, pod, nodes, budgets, 0, int32(len(nodes)))
	return found, err
}

func (d *dryPreemption) victims(node string) *extenderv1.Victims {
	at := slices.IndexFunc(d.found, func(c preemption.Candidate) bool { return c.Name() == node })
	return d.found[at].Victims()
}

// rank orders candidates by kube-scheduler's criteria, the better the smaller; those of one rank it draws from a map.
func rank(victims *extenderv1.Victims) [5]int64 {
	var sum int64
	for _, pod := range victims.Pods {
		sum += int64(corev1.PodPriority(pod)) + math.MaxInt32 + 1
	}
	earliest := int64(math.MinInt64)
	if start := util.GetEarliestPodStartTime(victims); start != nil {
		earliest = start.UnixNano()
	}
	return [5]int64{victims.NumPDBViolations, int64(corev1.PodPriority(victims.Pods[0])), sum, int64(len(victims.Pods)), -earliest}
}

func (d *dryPreemption) best() []string {
	var names []string
	var lowest [5]int64
	for _, candidate := range d.found {
		of := rank(candidate.Victims())
		if order := slices.Compare(of[:], lowest[:]); len(names) == 0 || order < 0 {
			names, lowest = []string{candidate.Name()}, of
		} else if order == 0 {
			names = append(names, candidate.Name())
		}
	}
	slices.Sort(names)
	return names
}

func (d *dryPreemption) candidates() map[string]candidate {
	all := map[string]candidate{}
	for _, found := range d.found {
		of := candidate{PDBViolations: found.Victims().NumPDBViolations}
		for _, pod := range found.Victims().Pods {
			of.Victims = append(of.Victims, pod.Namespace+"/"+pod.Name)
		}
		all[found.Name()] = of
	}
	return all
}
