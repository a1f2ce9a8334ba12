package main

import (
	"encoding/json"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

// wireCase is one line of stdin. Objects are as the API server stores them: defaulted, with UIDs.
type wireCase struct {
	ID      int64             `json:"id"`
	Objects []json.RawMessage `json:"objects"`
	// Pod is the pod to be scheduled.
	Pod json.RawMessage `json:"pod"`
	// Profile is one entry of `profiles` of a KubeSchedulerConfiguration; absent: the default profile.
	Profile json.RawMessage `json:"profile,omitempty"`
}

type parsedCase struct {
	id      int64
	objects []runtime.Object
	pod     *v1.Pod
	profile string
}

// answer is one line of stdout.
type answer struct {
	ID    int64  `json:"id"`
	Error string `json:"error,omitempty"`
	// PreFilter is set where a PreFilter plugin rejected the pod as a whole; then no node was filtered.
	PreFilter *verdict            `json:"preFilter"`
	Nodes     map[string]*verdict `json:"nodes"`
	// Scores of the nodes that fit, by node and plugin, also where only one fits.
	Scores  map[string]map[string]score `json:"scores"`
	Skipped []string                    `json:"skippedScores"`
	Total   map[string]int64            `json:"total"`
	// Best are the nodes of the highest total, sorted; kube-scheduler draws one of them.
	Best []string `json:"best"`
	// Nominated is the pod's nominated node where it fits: kube-scheduler then looks at no other.
	Nominated string `json:"nominated,omitempty"`
	// Message is the text of the FitError without what PostFilter adds; empty where a node fits.
	Message    string      `json:"message"`
	Preemption *postFilter `json:"preemption"`
}

type verdict struct {
	Code    string   `json:"code"`
	Plugin  string   `json:"plugin,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
}

// score is what a plugin gave, what it became among the nodes that fit, and the weight it counts with.
type score struct {
	Raw        int64 `json:"raw"`
	Normalized int64 `json:"normalized"`
	Weight     int64 `json:"weight"`
}

// postFilter is what the PostFilter plugins found where no node fits.
type postFilter struct {
	// Best are the candidates that nothing but chance decides between, sorted; empty: there is no candidate.
	Best       []string             `json:"best"`
	Candidates map[string]candidate `json:"candidates"`
	// Message is what PostFilter adds to the FitError.
	Message string `json:"message"`
}

type candidate struct {
	// Victims as `namespace/name`, those that violate a PodDisruptionBudget first, then from the most important.
	Victims       []string `json:"victims"`
	PDBViolations int64    `json:"pdbViolations"`
}

func idOf(line []byte) int64 {
	var only struct {
		ID int64 `json:"id"`
	}
	_ = json.Unmarshal(line, &only)
	return only.ID
}

func parse(line []byte) (*parsedCase, error) {
	var wire wireCase
	if err := json.Unmarshal(line, &wire); err != nil {
		return nil, fmt.Errorf("the case is not JSON of the expected form: %w", err)
	}
	parsed := &parsedCase{id: wire.ID, profile: string(wire.Profile)}
	for i, raw := range wire.Objects {
		object, err := decode(raw)
		if err != nil {
			return nil, fmt.Errorf("objects[%d]: %w", i, err)
		}
		parsed.objects = append(parsed.objects, object)
	}
	object, err := decode(wire.Pod)
	if err != nil {
		return nil, fmt.Errorf("pod: %w", err)
	}
	pod, ok := object.(*v1.Pod)
	if !ok {
		return nil, fmt.Errorf("pod: is a %T, want a v1.Pod", object)
	}
	parsed.pod = pod
	return parsed, nil
}

// decode reads an object without defaulting it: what is not set is not set.
func decode(raw []byte) (runtime.Object, error) {
	object, _, err := clientscheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
	return object, err
}
