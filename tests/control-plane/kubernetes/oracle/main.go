// Command oracle asks kube-scheduler's own code where a pod may go.
//
// It reads one case per line on stdin and writes one answer per line on stdout, both JSON (case.go), in the order of the cases, until stdin ends. The
// scheduling framework runs with all default plugins of this module's version, over a snapshot made by the scheduler's own cache; no API server, no
// informer that runs, no goroutine that decides, and no random number. A case that can't be read, or in which a plugin fails, is answered with "error".
//
// What kube-scheduler itself leaves to chance or to history is not asked for: extended resources are reported sorted (there: map order), all nodes of the
// best score and all equally good preemption candidates are named (there: one of them), and all candidates are dry-run (there: from a random offset).
// Not covered: DeviceTaintRules, PodGroups, extenders.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/klog/v2"
)

func main() {
	// It tells of every profile that says something of its own.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	world, err := newWorld()
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(in, 1<<20)
	answers := bufio.NewWriterSize(out, 1<<20)
	encoder := json.NewEncoder(answers)
	encoder.SetEscapeHTML(false)
	for {
		line, readErr := lines.ReadBytes('\n')
		if len(line) > 1 {
			if err := encoder.Encode(answerLine(world, line)); err != nil {
				return err
			}
		}
		// Whoever waits for this answer before it sends the next case gets it now.
		if readErr != nil || lines.Buffered() == 0 {
			if err := answers.Flush(); err != nil {
				return err
			}
		}
		if readErr == io.EOF {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

func answerLine(world *world, line []byte) *answer {
	parsed, err := parse(line)
	if err != nil {
		return &answer{ID: idOf(line), Error: err.Error()}
	}
	found, err := world.judge(parsed)
	if err != nil {
		return &answer{ID: parsed.id, Error: err.Error()}
	}
	return found
}
