package main

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// judge runs one scheduling cycle up to the choice of a node: PreFilter, Filter on every node, PreScore and Score, or PostFilter where nothing fits.
func (w *world) judge(parsed *parsedCase) (*answer, error) {
	if err := w.load(parsed); err != nil {
		return nil, err
	}
	profile, err := w.profile(parsed.profile)
	if err != nil {
		return nil, err
	}
	cycle := &cycle{world: w, profile: profile, pod: parsed, state: framework.NewCycleState(), answer: &answer{ID: parsed.id}}
	return cycle.answer, cycle.run()
}

// cycle is one case on its way through the extension points.
type cycle struct {
	world     *world
	profile   *profile
	pod       *parsedCase
	state     *framework.CycleState
	diagnosis framework.Diagnosis
	answer    *answer
}

func (c *cycle) run() error {
	byName, names, err := c.world.nodes()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		c.answer.Message = "no nodes available to schedule pods"
		return nil
	}
	c.diagnosis.NodeToStatus = framework.NewDefaultNodeToStatus()
	fits, err := c.filter(byName, names)
	if err != nil {
		return err
	}
	if len(fits) > 0 {
		return c.score(fits)
	}
	fitError := framework.FitError{Pod: c.pod.pod, NumAllNodes: len(names), Diagnosis: c.diagnosis}
	c.answer.Message = fitError.Error()
	return c.preempt()
}

// filter gives the nodes that fit, by name, and writes a verdict for every node.
func (c *cycle) filter(byName map[string]fwk.NodeInfo, names []string) ([]fwk.NodeInfo, error) {
	ctx, pod := c.world.ctx, c.pod.pod
	narrowed, status, by := c.profile.framework.RunPreFilterPlugins(ctx, c.state, pod)
	if !status.IsSuccess() {
		if !status.IsRejected() {
			return nil, status.AsError()
		}
		c.answer.PreFilter = verdictOf(status)
		c.diagnosis.NodeToStatus.SetAbsentNodesStatus(status)
		c.diagnosis.PreFilterMsg = status.Message()
		return nil, nil
	}
	if info, ok := byName[pod.Status.NominatedNodeName]; ok {
		status := c.profile.framework.RunFilterPluginsWithNominatedPods(ctx, c.state, pod, info)
		if status.IsSuccess() {
			c.answer.Nominated = info.Node().Name
		}
	}
	if !narrowed.AllNodes() {
		message := fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", sets.List(by))
		c.diagnosis.NodeToStatus.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, message))
	}
	c.answer.Nodes = map[string]*verdict{}
	var fits []fwk.NodeInfo
	for _, name := range names {
		if !narrowed.AllNodes() && !narrowed.NodeNames.Has(name) {
			c.answer.Nodes[name] = verdictOf(c.diagnosis.NodeToStatus.AbsentNodesStatus())
			continue
		}
		status := c.profile.framework.RunFilterPluginsWithNominatedPods(ctx, c.state, pod, byName[name])
		if status.Code() == fwk.Error {
			return nil, fmt.Errorf("node %s: %w", name, status.AsError())
		}
		c.answer.Nodes[name] = verdictOf(status)
		if status.IsSuccess() {
			fits = append(fits, byName[name])
		} else {
			c.diagnosis.NodeToStatus.Set(name, status)
			c.diagnosis.AddPluginStatus(status)
		}
	}
	return fits, nil
}

func verdictOf(status *fwk.Status) *verdict {
	if status.IsSuccess() {
		return &verdict{Code: fwk.Success.String()}
	}
	return &verdict{Code: status.Code().String(), Plugin: status.Plugin(), Reasons: slices.Sorted(slices.Values(status.Reasons()))}
}

// score fills what the score plugins say of the nodes that fit.
func (c *cycle) score(fits []fwk.NodeInfo) error {
	ctx, pod := c.world.ctx, c.pod.pod
	if status := c.profile.framework.RunPreScorePlugins(ctx, c.state, pod, fits); !status.IsSuccess() {
		return status.AsError()
	}
	found, status := c.profile.framework.RunScorePlugins(ctx, c.state, pod, fits)
	if !status.IsSuccess() {
		return status.AsError()
	}
	weights := map[string]int64{}
	for _, plugin := range c.profile.framework.ListPlugins().Score.Enabled {
		weights[plugin.Name] = int64(plugin.Weight)
	}
	c.answer.Skipped = sets.List(c.state.GetSkipScorePlugins())
	c.answer.Scores, c.answer.Total = map[string]map[string]score{}, map[string]int64{}
	highest := int64(-1)
	for _, node := range found {
		of := map[string]score{}
		for _, raw := range node.RawScores {
			of[raw.Name] = score{Raw: raw.Score, Weight: weights[raw.Name]}
		}
		for _, weighted := range node.Scores {
			line := of[weighted.Name]
			line.Normalized = weighted.Score / line.Weight
			of[weighted.Name] = line
		}
		c.answer.Scores[node.Name], c.answer.Total[node.Name] = of, node.TotalScore
		if node.TotalScore > highest {
			highest, c.answer.Best = node.TotalScore, nil
		}
		if node.TotalScore == highest {
			c.answer.Best = append(c.answer.Best, node.Name)
		}
	}
	slices.Sort(c.answer.Best)
	return nil
}

// preempt runs the PostFilter plugins, of which DefaultPreemption is replaced by one that decides and does not act.
func (c *cycle) preempt() error {
	if !c.profile.framework.HasPostFilterPlugins() {
		return nil
	}
	if c.profile.preemption != nil {
		c.profile.preemption.found = nil
	}
	// An error is part of the answer: where PreFilter stopped early, DynamicResources finds no state of its own, and kube-scheduler says "not found".
	_, status := c.profile.framework.RunPostFilterPlugins(c.world.ctx, c.state, c.pod.pod, c.diagnosis.NodeToStatus)
	c.answer.Preemption = &postFilter{Best: []string{}, Candidates: map[string]candidate{}, Message: status.Message()}
	if c.profile.preemption != nil && len(c.profile.preemption.found) > 0 {
		c.answer.Preemption.Best, c.answer.Preemption.Candidates = c.profile.preemption.best(), c.profile.preemption.candidates()
	}
	return nil
}
