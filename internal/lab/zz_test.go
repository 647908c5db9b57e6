package lab

import (
	"context"
	"os/exec"
	"testing"

	"proofhouse/isolation"
)

func TestE2EZZ(t *testing.T) {
	l := onKernel(t, DefaultKernel)
	ctx := context.Background()
	for _, n := range []int{40, 20, 10} {
		m, err := l.Machine(ctx, l.Plan.Builds[0])
		if err != nil {
			t.Fatal(err)
		}
		k := l.kernel(l.Plan.Builds[0], m)
		p := isolation.Rows()[0].Plan(k)
		all := p.Cells
		for i := 0; i < 20; i += n {
			p.Cells = all[i:min(20, i+n)]
			p.Container = ""
			f, _, err := l.probe(ctx, m, p)
			e := m.Sane(ctx)
			t.Log(n, p.Cells[0].Key, len(f), err, e)
			if e != nil {
				out, _ := exec.Command("sh", "-c", "ps -eo pid,stat,pcpu,wchan:20,comm,args --sort=-pcpu| grep -i 'linux.uml\\|vmlinux\\|ubd0' | cut -c1-200 | head; sleep 1; top -bn1 | head -15").CombinedOutput()
				t.Log(string(out))
				t.Log(m.Console().Since(0))
				l.drop("")
				break
			}
		}
	}
}
