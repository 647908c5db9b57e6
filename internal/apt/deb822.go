// SPDX-License-Identifier: Apache-2.0

package apt

import "strings"

// stanzas reads paragraphs of fields as deb822(5) has them, the names in lower
// case. A folded value keeps its line breaks; comment lines are dropped.
func stanzas(text string) []map[string]string {
	var (
		all  []map[string]string
		cur  map[string]string
		last string
	)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case strings.TrimSpace(line) == "":
			cur, last = nil, ""
			continue
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				cur[last] = strings.TrimPrefix(cur[last]+"\n"+strings.TrimSpace(line), "\n")
			}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			last = ""
			continue
		}
		if cur == nil {
			cur = map[string]string{}
			all = append(all, cur)
		}
		last = strings.ToLower(strings.TrimSpace(name))
		cur[last] = strings.TrimSpace(value)
	}
	return all
}
