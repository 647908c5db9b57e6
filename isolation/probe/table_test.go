// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"flag"
	"os"
	"strings"
	"testing"

	"proofhouse/isolation"
	"proofhouse/isolation/defects"
)

var update = flag.Bool("update", false, "write the reference of the operations into isolation/doc.go")

// parameters are the least and the most that a usage allows; -1 is any number.
func parameters(usage string) (least, most int) {
	for _, w := range strings.Fields(usage) {
		if !strings.HasPrefix(w, "[") {
			least++
		}
		most++
		if strings.HasSuffix(w, "…") {
			return least, -1
		}
	}
	return least, most
}

// TestTableSteps demands that each step of each row and each check of a known defect names an operation, with as
// many parameters as it takes, by a task that the cell has; and that each
// operation is used by some row.
func TestTableSteps(t *testing.T) {
	used := map[*operation]bool{}
	k := isolation.Kernel{Features: map[string]string{}}
	type planned interface {
		ID() string
		Plan(isolation.Kernel) isolation.Plan
	}
	var all []planned
	for _, row := range isolation.Rows() {
		all = append(all, row)
	}
	for _, d := range defects.All() {
		all = append(all, d)
	}
	for _, row := range all {
		wrong := map[string]bool{} // a row's cells have the same steps: say it once
		for _, c := range row.Plan(k).Cells {
			tasks := map[string]bool{"": true, isolation.Manager: true}
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
					t.Errorf("%s/%s: %q: the cell has no such task", row.ID(), c.Key, step)
				}
				operations := taskOperations
				if who == isolation.Manager {
					operations = managerOperations
				}
				op := find(operations, words[0])
				if op == nil {
					if !wrong[step] {
						t.Errorf("%s: %q: unknown operation %q: go doc ./isolation lists them", row.ID(), step, words[0])
					}
					wrong[step] = true
					continue
				}
				used[op] = true
				least, most := parameters(op.usage)
				if n := len(words) - 1; (n < least || most >= 0 && n > most) && !wrong[step] {
					t.Errorf("%s: %q: the parameters of %s are %q", row.ID(), step, op.name, op.usage)
					wrong[step] = true
				}
			}
		}
	}
	for _, list := range [][]operation{taskOperations, managerOperations} {
		for i := range list {
			if !used[&list[i]] {
				t.Errorf("no row uses the operation %s: add a row that does", list[i].name)
			}
			if find(list, list[i].name) != &list[i] {
				t.Errorf("the operation %s is in the table twice", list[i].name)
			}
		}
	}
}

// TestDocumented demands that isolation/doc.go lists the operations as they
// are. go generate ./isolation writes it.
func TestDocumented(t *testing.T) {
	const file = "../doc.go"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for title, list := range map[string][]operation{"# Operations of a task\n": taskOperations, "# Operations of the manager\n": managerOperations} {
		before, after, ok := strings.Cut(want, "// "+title)
		if !ok {
			t.Fatalf("%s has no section %q", file, title)
		}
		// A section ends with the first line that is not of its list.
		lines := strings.SplitAfter(after, "\n")
		for len(lines) > 0 && (lines[0] == "//\n" || strings.HasPrefix(lines[0], "//\t")) {
			lines = lines[1:]
		}
		end := "//\n"
		if len(lines) == 0 || !strings.HasPrefix(lines[0], "//") {
			end = ""
		}
		want = before + "// " + title + "//\n" + reference(list) + end + strings.Join(lines, "")
	}
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s does not list the operations as they are: run go generate ./isolation", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
