// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/child"
)

// browser is a Chromium that a test drives as a person would, through as much
// of WebDriver (https://www.w3.org/TR/webdriver2/) as the tests need.
type browser struct {
	t       testing.TB
	session string // the address of the session
}

var driverPort = regexp.MustCompile(`started successfully on port ([0-9]+)`)

// open starts a Chromium with a profile of its own. Without one on the machine
// the test is skipped.
func open(t testing.TB) *browser {
	t.Helper()
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("starts a browser: make test-e2e")
	}
	driver, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Skip("no chromedriver here: apt-get install chromium-driver")
	}
	profile := profileFolder(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := child.Command(ctx, driver, "--port=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	port := ""
	lines := bufio.NewScanner(out)
	for port == "" && lines.Scan() {
		if m := driverPort.FindStringSubmatch(lines.Text()); m != nil {
			port = m[1]
		}
	}
	if port == "" {
		t.Fatal("chromedriver does not say its port")
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	b := &browser{t: t, session: "http://127.0.0.1:" + port + "/session"}
	var made struct {
		SessionID string `json:"sessionId"`
	}
	b.call("POST", "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName":       "chrome",
		"goog:loggingPrefs": map[string]string{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir=" + profile, "--window-size=1600,1000",
		}},
	}}}, &made)
	b.session += "/" + made.SessionID
	t.Cleanup(func() { b.call("DELETE", "", nil, nil) })
	return b
}

// profileFolder is one for a Chromium, which is removed behind it: a process of
// the browser's may write for a moment after the session has ended, where
// t.TempDir would fail the test.
func profileFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "page-profile-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for end := time.Now().Add(timeout); ; time.Sleep(100 * time.Millisecond) {
			err := os.RemoveAll(dir)
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Error(err)
				return
			}
		}
	})
	return dir
}

// call is one command of WebDriver.
func (b *browser) call(method, path string, body, answer any) {
	b.t.Helper()
	var send io.Reader
	if method == "POST" {
		if body == nil {
			body = struct{}{}
		}
		text, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		send = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, b.session+path, send)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var result struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		var failed struct{ Error, Message string }
		_ = json.Unmarshal(result.Value, &failed)
		message, _, _ := strings.Cut(failed.Message, "\n")
		b.t.Fatalf("%s %s %v: %s: %s", method, path, body, failed.Error, message)
	}
	if answer != nil {
		if err := json.Unmarshal(result.Value, answer); err != nil {
			b.t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

// visit opens the page at path, with what stands behind its address, and waits
// for it.
func (b *browser) visit(path, fragment string) {
	b.t.Helper()
	// Leaving the page first: an address that differs only in its fragment
	// would not load it again.
	b.call("POST", "/url", map[string]string{"url": "about:blank"}, nil)
	b.call("POST", "/url", map[string]string{"url": (&url.URL{Scheme: "file", Path: path}).String() + fragment}, nil)
	b.wait("the page", `document.documentElement.dataset.ready`)
}

// js evaluates an expression.
func (b *browser) js(answer any, expression string, args ...any) {
	b.t.Helper()
	if args == nil {
		args = []any{}
	}
	b.call("POST", "/execute/sync", map[string]any{"script": "return " + expression, "args": args}, answer)
}

func (b *browser) text(expression string, args ...any) string {
	b.t.Helper()
	var s any
	b.js(&s, expression, args...)
	if s == nil {
		return ""
	}
	return fmt.Sprint(s)
}

// timeout is how long a page may take for what it does at once, where the
// machine is busy with other things.
const timeout = time.Minute

// wait is over when the expression is true.
func (b *browser) wait(what, expression string, args ...any) {
	b.t.Helper()
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		var v any
		b.js(&v, expression, args...)
		if v != nil && v != false && v != "" && v != 0.0 {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("waited for %s: %s\nThe page is in %s", what, expression, b.picture())
		}
	}
}

const elementKey = "element-6066-11e4-a52e-4f735466cecf" // of an element's number, says the standard

func (b *browser) element(how, what string) string {
	b.t.Helper()
	var found map[string]string
	b.call("POST", "/element", map[string]string{"using": how, "value": what}, &found)
	return found[elementKey]
}

// click presses what an XPath names, with the mouse: it must be seen and not
// be covered.
func (b *browser) click(xpath string) {
	b.t.Helper()
	b.call("POST", "/element/"+b.element("xpath", xpath)+"/click", nil, nil)
}

// Keys, as WebDriver names them.
const (
	keyEnter  = "\ue007"
	keyEscape = "\ue00c"
	keyLeft   = "\ue012"
	keyUp     = "\ue013"
	keyRight  = "\ue014"
	keyDown   = "\ue015"
	keyCtrl   = "\ue009"
)

// keys presses one key after the other, into what has the focus. One with Ctrl
// is pressed while Ctrl is down.
func (b *browser) keys(keys ...string) {
	b.t.Helper()
	var actions []map[string]string
	press := func(kind, key string) { actions = append(actions, map[string]string{"type": kind, "value": key}) }
	for _, text := range keys {
		rest, ctrl := strings.CutPrefix(text, keyCtrl)
		if ctrl {
			press("keyDown", keyCtrl)
		}
		for _, r := range rest {
			press("keyDown", string(r))
			press("keyUp", string(r))
		}
		if ctrl {
			press("keyUp", keyCtrl)
		}
	}
	b.call("POST", "/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keys", "actions": actions}}}, nil)
}

// devtools is a command of Chromium's own protocol.
func (b *browser) devtools(command string, params map[string]any) {
	b.t.Helper()
	b.call("POST", "/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, nil)
}

// picture keeps what is seen and returns its path.
func (b *browser) picture() string {
	b.t.Helper()
	var text string
	b.call("GET", "/screenshot", nil, &text)
	f, err := os.CreateTemp("", "page-*.png")
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := io.Copy(f, base64.NewDecoder(base64.StdEncoding, strings.NewReader(text))); err != nil {
		b.t.Fatal(err)
	}
	return f.Name()
}

// complaints are what the browser found wrong with the page.
func (b *browser) complaints() (list []string) {
	b.t.Helper()
	var entries []struct{ Level, Message string }
	b.call("POST", "/se/log", map[string]string{"type": "browser"}, &entries)
	for _, e := range entries {
		list = append(list, e.Level+" "+e.Message)
	}
	return list
}
