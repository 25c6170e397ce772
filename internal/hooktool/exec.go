package hooktool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Exec runs the real hook tools, in the agent where that is possible (see agent). It is
// made by NewExec, for one hook.
type Exec struct {
	event Event

	env   []string
	agent *agent
	mu    sync.Mutex
	paths map[string]string
	reads map[string][]byte
	set   *unitStatus // what this hook set last
	calls int
	spent time.Duration
}

// NewExec returns the tools of the hook that event describes.
func NewExec(event Event) *Exec {
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	return &Exec{
		event: event,
		env:   os.Environ(),
		agent: dialAgent(os.Getenv, dir),
		paths: map[string]string{},
		reads: map[string][]byte{},
	}
}

// Cost reports how many tools were run so far and how long they took together.
func (x *Exec) Cost() (calls int, spent time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.calls, x.spent
}

// run runs one tool with stdin; what others may not read travels there, never as an
// argument.
func (x *Exec) run(ctx context.Context, stdin []byte, tool string, args ...string) ([]byte, error) {
	return x.runOr(ctx, x.runTool, stdin, tool, args...)
}

// runOr is run with what is done where the agent does not answer directly.
func (x *Exec) runOr(ctx context.Context, fallback runner, stdin []byte, tool string, args ...string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", tool, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	start := time.Now()
	stdout, stderr, code, err := x.agent.run(tool, args, stdin)
	if errors.Is(err, errNoAgent) {
		x.agent = nil // what failed once is not tried for each tool
		stdout, stderr, code, err = fallback(tool, args, stdin)
	}
	x.calls++
	x.spent += time.Since(start)
	said := strings.TrimSpace(string(stderr))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot run %s: %w", tool, err)
	case code == 0:
		return stdout, nil
	case strings.Contains(said, "not found"):
		return nil, fmt.Errorf("cannot run %s: %s: %w", tool, said, ErrNotFound)
	case said != "":
		return nil, fmt.Errorf("cannot run %s: %s", tool, said)
	default:
		return nil, fmt.Errorf("cannot run %s: it failed with exit code %d and said nothing", tool, code)
	}
}

// runner runs one tool.
type runner func(tool string, args []string, stdin []byte) (stdout, stderr []byte, code int, err error)

// refuseArguments is the runner for secret arguments: in a program's arguments every user of
// the machine can read them.
func refuseArguments(string, []string, []byte) (stdout, stderr []byte, code int, err error) {
	return nil, nil, 0, errors.New("the agent's socket does not answer, and a secret in a program's arguments can be read by every user of this machine: run the action again without reveal, on the leader")
}

// runTool runs the program itself.
func (x *Exec) runTool(tool string, args []string, stdin []byte) (stdout, stderr []byte, code int, err error) {
	path, err := x.lookPath(tool)
	if err != nil {
		return nil, nil, 0, err
	}
	return spawn(path, append([]string{tool}, args...), x.env, stdin)
}

// read runs a tool that only reads, once per hook, and decodes its JSON.
func (x *Exec) read(ctx context.Context, into any, tool string, args ...string) error {
	key := tool + "\x00" + strings.Join(args, "\x00")
	x.mu.Lock()
	out, seen := x.reads[key]
	x.mu.Unlock()
	if !seen {
		var err error
		out, err = x.run(ctx, nil, tool, append([]string{"--format=json"}, args...)...)
		if err != nil {
			return err
		}
		x.mu.Lock()
		x.reads[key] = out
		x.mu.Unlock()
	}
	if len(bytes.TrimSpace(out)) == 0 {
		return nil
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("cannot read what %s printed: %w", tool, err)
	}
	return nil
}

// Config implements Tools.
func (x *Exec) Config(ctx context.Context) (map[string]any, error) {
	config := map[string]any{}
	return config, x.read(ctx, &config, "config-get", "--all")
}

// IsLeader implements Tools.
func (x *Exec) IsLeader(ctx context.Context) (bool, error) {
	var leader bool
	return leader, x.read(ctx, &leader, "is-leader")
}

// Address implements Tools.
func (x *Exec) Address(ctx context.Context, endpoint string) (string, error) {
	all, err := x.Addresses(ctx, endpoint)
	if err != nil {
		return "", err
	}
	return all[0], nil
}

// Addresses implements Tools.
func (x *Exec) Addresses(ctx context.Context, endpoint string) ([]string, error) {
	var info struct {
		Bind []struct {
			Addresses []struct {
				Value   string `json:"value"`
				Address string `json:"address"`
			} `json:"addresses"`
		} `json:"bind-addresses"`
	}
	if err := x.read(ctx, &info, "network-get", endpoint); err != nil {
		return nil, err
	}
	var all []string
	for _, bind := range info.Bind {
		for _, a := range bind.Addresses {
			// Juju 2.9 said "address" too; 3 and 4 say "value".
			switch {
			case a.Value != "":
				all = append(all, a.Value)
			case a.Address != "":
				all = append(all, a.Address)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("cannot determine this unit's address: network-get %s names none: wait until Juju knows it", endpoint)
	}
	return all, nil
}

// Units implements Tools.
func (x *Exec) Units(ctx context.Context) ([]string, error) {
	// https://documentation.ubuntu.com/juju/3.6/reference/hook-command/list-of-hook-commands/goal-state/
	var goal struct {
		Units map[string]struct {
			Status string `json:"status"`
		} `json:"units"`
	}
	if err := x.read(ctx, &goal, "goal-state"); err != nil {
		return nil, err
	}
	units := make([]string, 0, len(goal.Units))
	for unit, state := range goal.Units {
		if state.Status != "dying" && state.Status != "dead" {
			units = append(units, unit)
		}
	}
	sort.Strings(units)
	return units, nil
}

// RelationIDs implements Tools.
func (x *Exec) RelationIDs(ctx context.Context, endpoint string) ([]string, error) {
	var all []string
	if err := x.read(ctx, &all, "relation-ids", endpoint); err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(all))
	for _, id := range all {
		if !x.event.Broken(id) {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids, nil
}

// RelationUnits implements Tools.
func (x *Exec) RelationUnits(ctx context.Context, relation string) ([]string, error) {
	var units []string
	if err := x.read(ctx, &units, "relation-list", "-r", relation); err != nil {
		return nil, err
	}
	sort.Strings(units)
	return units, nil
}

// RelationApp implements Tools.
func (x *Exec) RelationApp(ctx context.Context, relation string) (string, error) {
	var app string
	return app, x.read(ctx, &app, "relation-list", "-r", relation, "--app")
}

// RelationGet implements Tools.
//
// For a relation that the controller has removed while this unit still lists it (remove-relation
// --force), Juju 4 answers "relation not found" and Juju 3.6 "permission denied". Every databag
// but that of the own application can be read by any unit of a relation, so for these both
// mean that the relation is gone.
// Source: apiserver/facades/agent/uniter/uniter.go, getRelation in 3.6.11 and
// readOneRemoteSettings in 4.1-beta2.
func (x *Exec) RelationGet(ctx context.Context, relation, owner string) (map[string]string, error) {
	values := map[string]string{}
	args := []string{"-r", relation, "-", owner}
	if !strings.Contains(owner, "/") {
		args = []string{"-r", relation, "--app", "-", owner}
	}
	err := x.read(ctx, &values, "relation-get", args...)
	if err != nil && owner != x.event.App() && strings.Contains(err.Error(), "permission denied") {
		err = fmt.Errorf("%w: the relation is gone: %w", err, ErrNotFound)
	}
	return values, err
}

// RelationSet implements Tools.
func (x *Exec) RelationSet(ctx context.Context, relation string, values map[string]string) error {
	return x.relationSet(ctx, values, relation, x.event.Unit)
}

// RelationSetApp implements Tools.
func (x *Exec) RelationSetApp(ctx context.Context, relation string, values map[string]string) error {
	return x.relationSet(ctx, values, relation, x.event.App(), "--app")
}

func (x *Exec) relationSet(ctx context.Context, values map[string]string, relation, owner string, args ...string) error {
	// The agent shows what a hook has written, so what was there is read first. A read that fails
	// is told by the write.
	_, _ = x.RelationGet(ctx, relation, owner)
	// JSON is YAML, which is what --file reads, but for some characters.
	settings, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("cannot encode relation settings: %w", err)
	}
	_, err = x.run(ctx, escapeForYAML(settings), "relation-set", slices.Concat([]string{"-r", relation}, args, []string{"--file", "-"})...)
	return err
}

// escapeForYAML escapes the characters in JSON that JSON may hold as they are and YAML may not.
// https://yaml.org/spec/1.1/#c-printable
func escapeForYAML(text []byte) []byte {
	escaped := make([]byte, 0, len(text))
	for _, r := range string(text) {
		if r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		} else {
			escaped = utf8.AppendRune(escaped, r)
		}
	}
	return escaped
}

// Storage implements Tools.
func (x *Exec) Storage(ctx context.Context, name string) ([]string, error) {
	var ids []string
	if err := x.read(ctx, &ids, "storage-list", name); err != nil {
		return nil, err
	}
	var locations []string
	for _, id := range ids {
		var one struct {
			Location string `json:"location"`
		}
		if err := x.read(ctx, &one, "storage-get", "-s", id); notAttached(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		if one.Location != "" {
			locations = append(locations, one.Location)
		}
	}
	sort.Strings(locations)
	return locations, nil
}

// notAttached reports whether storage-get failed because the instance is not attached yet, or no
// more: storage-list names it from the time that it is asked for until it is removed.
// Source: StorageAttachmentInfo in Juju 3.6.11, apiserver/common/storagecommon/storage.go, and
// StorageAttachments in 4.1-beta2, apiserver/facades/agent/uniter/storage.go.
func notAttached(err error) bool {
	return err != nil && (errors.Is(err, ErrNotFound) ||
		strings.Contains(err.Error(), "not provisioned") ||
		strings.Contains(err.Error(), " missing"))
}

// Secret implements Tools.
func (x *Exec) Secret(ctx context.Context, id string) (map[string]string, error) {
	content := map[string]string{}
	return content, x.read(ctx, &content, "secret-get", "--refresh", "--", id)
}

// AddSecret implements Tools.
func (x *Exec) AddSecret(ctx context.Context, label string, content map[string]string) (string, error) {
	out, err := x.withContent(ctx, label, content, "secret-add", "--owner", "application", "--label", label)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(out))
	if id == "" {
		return "", errors.New("cannot read what secret-add printed: expected the secret's id")
	}
	return id, nil
}

// SetSecret implements Tools.
func (x *Exec) SetSecret(ctx context.Context, id string, content map[string]string) error {
	_, _ = x.Secret(ctx, id) // as in relationSet
	_, err := x.withContent(ctx, id, content, "secret-set", id)
	return err
}

// Granted implements Tools.
func (x *Exec) Granted(ctx context.Context, id string) (bool, error) {
	var byID map[string]struct {
		Access []any `json:"access"`
	}
	if err := x.read(ctx, &byID, "secret-info-get", id); err != nil {
		return false, err
	}
	for _, info := range byID { // it is the one that was asked for
		return len(info.Access) > 0, nil
	}
	return false, fmt.Errorf("cannot read what secret-info-get printed: expected secret %s", id)
}

// GrantSecret implements Tools.
func (x *Exec) GrantSecret(ctx context.Context, id, relation string) error {
	_, err := x.run(ctx, nil, "secret-grant", id, "-r", relation)
	return err
}

// withContent runs a tool that takes a secret's content. It takes it as arguments, which
// others may read, or from a file: here one that is in memory alone. The agent, which is
// root on the same machine, opens it.
func (x *Exec) withContent(ctx context.Context, name string, content map[string]string, tool string, args ...string) ([]byte, error) {
	text, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("cannot encode secret %s: %w", name, err)
	}
	fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot keep secret %s in memory: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), "secret")
	defer file.Close()
	if _, err := file.Write(text); err != nil {
		return nil, fmt.Errorf("cannot keep secret %s in memory: %w", name, err)
	}
	return x.run(ctx, nil, tool, append(args, "--file", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))...)
}

// OpenedPorts implements Tools.
func (x *Exec) OpenedPorts(ctx context.Context) ([]string, error) {
	var ports []string
	if err := x.read(ctx, &ports, "opened-ports"); err != nil {
		return nil, err
	}
	sort.Strings(ports)
	return ports, nil
}

// OpenPort implements Tools.
func (x *Exec) OpenPort(ctx context.Context, port string) error {
	_, err := x.run(ctx, nil, "open-port", "--", port)
	return err
}

// ClosePort implements Tools.
func (x *Exec) ClosePort(ctx context.Context, port string) error {
	_, err := x.run(ctx, nil, "close-port", "--", port)
	return err
}

// unitStatus is what status-get prints.
type unitStatus struct{ Status, Message string }

// StatusSet implements Tools. What the status is already is not written again: a write goes to
// the controller's database, for each unit after each hook, and to read is cheaper by far.
func (x *Exec) StatusSet(ctx context.Context, status, message string) error {
	wanted := unitStatus{status, message}
	if x.set == nil {
		// The agent keeps the answer for the whole hook, whatever status-set writes meanwhile
		// (HookContext.UnitStatus in Juju 3.6 and 4), so it is true for the first time only.
		is := unitStatus{}
		out, err := x.run(ctx, nil, "status-get", "--format=json", "--include-data")
		if err == nil && json.Unmarshal(out, &is) == nil {
			x.set = &is
		}
	}
	if x.set != nil && *x.set == wanted {
		return nil
	}
	x.set = &unitStatus{} // no one knows what it is after a failure
	if _, err := x.run(ctx, nil, "status-set", "--", status, message); err != nil {
		return err
	}
	x.set = &wanted
	return nil
}

// VersionSet implements Tools.
func (x *Exec) VersionSet(ctx context.Context, version string) error {
	_, err := x.run(ctx, nil, "application-version-set", "--", version)
	return err
}

// Log implements Tools.
func (x *Exec) Log(ctx context.Context, level, message string) error {
	_, err := x.run(ctx, nil, "juju-log", "-l", level, "--", message)
	return err
}

// ActionParams implements Tools.
func (x *Exec) ActionParams(ctx context.Context) (map[string]any, error) {
	params := map[string]any{}
	return params, x.read(ctx, &params, "action-get")
}

// ActionLog implements Tools.
func (x *Exec) ActionLog(ctx context.Context, message string) error {
	_, err := x.run(ctx, nil, "action-log", "--", message)
	return err
}

// ActionSet implements Tools.
func (x *Exec) ActionSet(ctx context.Context, results map[string]string) error {
	return x.actionSet(ctx, x.runTool, results)
}

// ActionSetSecret implements Tools.
func (x *Exec) ActionSetSecret(ctx context.Context, results map[string]string) error {
	return x.actionSet(ctx, refuseArguments, results)
}

func (x *Exec) actionSet(ctx context.Context, fallback runner, results map[string]string) error {
	if len(results) == 0 {
		return errors.New("cannot run action-set: no results given")
	}
	args := make([]string, 0, len(results))
	for key, value := range results {
		args = append(args, key+"="+value)
	}
	sort.Strings(args)
	_, err := x.runOr(ctx, fallback, nil, "action-set", append([]string{"--"}, args...)...)
	return err
}

// ActionFail implements Tools.
func (x *Exec) ActionFail(ctx context.Context, message string) error {
	_, err := x.run(ctx, nil, "action-fail", "--", message)
	return err
}
