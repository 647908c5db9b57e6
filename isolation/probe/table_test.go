package probe

import (
	"strings"
	"testing"

	"proofhouse/isolation"
)

// managing are the manager's operations.
var managing = "load remove mkns trymkns rmns revision profiles labelof sh keep unchanged sysctl nest nestfails longname many race leak "

// Every step of the table is one that the probe can do, by a task that the
// cell has.
func TestTableSteps(t *testing.T) {
	k := isolation.Kernel{Features: map[string]string{}}
	for _, row := range isolation.Rows() {
		for _, c := range row.Plan(k).Cells {
			tasks := map[string]bool{"": true, "@": true}
			for _, task := range c.Tasks {
				tasks[task.Name] = true
			}
			for _, step := range append(append(append([]string{}, c.Prepare...), c.Do...), c.Clean...) {
				words := strings.Fields(step)
				who := ""
				if strings.HasSuffix(words[0], ":") {
					who, words = strings.TrimSuffix(words[0], ":"), words[1:]
				}
				if len(words) > 2 && words[1] == "=" {
					words = words[2:]
				}
				if words[0] == "try" {
					words = words[1:]
				}
				if !tasks[who] {
					t.Errorf("%s/%s: %q is by no task", row.ID(), c.Key, step)
				}
				if who == "@" && !strings.Contains(managing, words[0]+" ") && manager[words[0]] == nil || who != "@" && operations[words[0]] == nil {
					t.Errorf("%s/%s: %q: no such operation", row.ID(), c.Key, step)
				}
			}
		}
	}
}
