package inventory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// API is what steps ask of MAAS. Its refusals are errors.
type API interface {
	CreateTag(ctx context.Context, tag Tag) error
	// ChangeTag sets fields by MAAS's names.
	ChangeTag(ctx context.Context, name string, fields map[string]string) error
	// Tag returns a tag to some machines, by system id, and takes it from others.
	Tag(ctx context.Context, name string, add, remove []string) error

	// Status returns a machine's status.
	Status(ctx context.Context, id string) (string, error)
	Interfaces(ctx context.Context, id string) ([]Interface, error)
	CreateBond(ctx context.Context, id, name string, parents []int, params map[string]string) error
	CreateBridge(ctx context.Context, id, name string, parent int, params map[string]string) error
	ChangeInterface(ctx context.Context, id string, of int, params map[string]string) error
	Link(ctx context.Context, id string, of int, link Link) error
	Unlink(ctx context.Context, id string, of, link int) error
	SetStorageLayout(ctx context.Context, id, layout string, params map[string]string) error
	// AddDiskTag adds a tag to a disk, and RemoveDiskTag takes it away; MAAS does so with machines
	// that are Ready. One that is there, or is not, is no error.
	AddDiskTag(ctx context.Context, id string, disk int, tag string) error
	RemoveDiskTag(ctx context.Context, id string, disk int, tag string) error

	Commission(ctx context.Context, id string, o CommissionOptions) error
	Deploy(ctx context.Context, id string, o DeployOptions) error
}

// Step is one thing to do. It may be killed after any effect, and done again.
type Step interface {
	Name() string
	// On is the host name of the machine that it changes; empty for tags, which leave
	// machines as they are.
	On() string
	Apply(ctx context.Context, api API) error
}

// Target is the machine that a step changes.
type Target struct{ ID, Hostname string }

// On implements Step.
func (t Target) On() string { return t.Hostname }

// ready refuses to go on where the machine is no more what it was when it was planned for.
func (t Target) ready(ctx context.Context, api API) error {
	status, err := api.Status(ctx, t.ID)
	if err == nil && status != Ready {
		err = fmt.Errorf("cannot change %s: it was Ready, and is %s now: its network and storage are set when it is Ready again", t.Hostname, status)
	}
	return err
}

// interfaces returns a machine's interfaces, if it is still Ready.
func (t Target) interfaces(ctx context.Context, api API) ([]Interface, error) {
	if err := t.ready(ctx, api); err != nil {
		return nil, err
	}
	return api.Interfaces(ctx, t.ID)
}

// find finds one of a machine's interfaces, if it is still Ready.
func (t Target) find(ctx context.Context, api API, name string) (*Interface, error) {
	all, err := t.interfaces(ctx, api)
	if err != nil {
		return nil, err
	}
	if i := named(all, name); i != nil {
		return i, nil
	}
	return nil, fmt.Errorf("cannot find interface %s of %s in MAAS: an operator took it away: apply again", name, t.Hostname)
}

// What there is to do.
type (
	// CreateTag makes a tag.
	CreateTag struct{ Tag Tag }
	// ChangeTag sets fields of a tag, by MAAS's names.
	ChangeTag struct {
		Tag    string
		Fields map[string]string
	}
	// AddTag adds a tag to machines.
	AddTag struct {
		Tag      string
		Machines []Machine
	}
	// CreateBond makes a bond of interfaces, by their ids.
	CreateBond struct {
		Target
		Bond    Bond
		Parents []int
	}
	// CreateBridge makes a bridge on an interface.
	CreateBridge struct {
		Target
		Bridge, Parent string
		Params         map[string]string
	}
	// ChangeInterface sets parameters of an interface, by MAAS's names.
	ChangeInterface struct {
		Target
		Interface string
		Params    map[string]string
	}
	// LinkSubnet links an interface to a subnet.
	LinkSubnet struct {
		Target
		Interface string
		Link      Link
	}
	// Unlink takes a link away.
	Unlink struct {
		Target
		Interface string
		Link      Link
	}
	// SetStorage sets a storage layout; Was is in what the machine's differs, Tag what becomes of
	// the disks' tags meanwhile.
	SetStorage struct {
		Target
		Layout string
		Params map[string]string
		Was    string
		Tag    CacheTag
	}
)

// On implements Step.
func (CreateTag) On() string { return "" }

// On implements Step.
func (ChangeTag) On() string { return "" }

// On implements Step.
func (AddTag) On() string { return "" }

// Name implements Step.
func (s CreateTag) Name() string { return "make tag " + s.Tag.Name }

// Apply implements Step.
func (s CreateTag) Apply(ctx context.Context, api API) error { return api.CreateTag(ctx, s.Tag) }

// Name implements Step.
func (s ChangeTag) Name() string {
	words := map[string]string{"kernel_opts": "kernel options"}
	var fields []string
	for _, field := range slices.Sorted(maps.Keys(s.Fields)) {
		if word := words[field]; word != "" {
			field = word
		}
		fields = append(fields, field)
	}
	return "change the " + join(fields) + " of tag " + s.Tag
}

// Apply implements Step.
func (s ChangeTag) Apply(ctx context.Context, api API) error {
	return api.ChangeTag(ctx, s.Tag, s.Fields)
}

// Name implements Step.
func (s AddTag) Name() string {
	const shown = 4
	var names []string
	for i, m := range s.Machines {
		if i == shown && len(s.Machines) > shown+1 {
			names = append(names, fmt.Sprintf("%d more", len(s.Machines)-shown))
			break
		}
		names = append(names, m.Hostname)
	}
	return "add tag " + s.Tag + " to " + join(names)
}

// Apply implements Step.
func (s AddTag) Apply(ctx context.Context, api API) error {
	var ids []string
	for _, m := range s.Machines {
		ids = append(ids, m.ID)
	}
	return api.Tag(ctx, s.Tag, ids, nil)
}

// Name implements Step.
func (s CreateBond) Name() string {
	return fmt.Sprintf("make bond %s of %s%s", s.Bond.Name, join(s.Bond.Interfaces), shown(s.Bond.Params))
}

// shown shows parameters, in brackets.
func shown(params map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(params)) {
		_, short, found := strings.Cut(key, "_")
		if !found {
			short = key
		}
		all = append(all, strings.ReplaceAll(short, "_", "-")+" "+params[key])
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// Apply implements Step.
func (s CreateBond) Apply(ctx context.Context, api API) error {
	all, err := s.interfaces(ctx, api)
	if err != nil || named(all, s.Bond.Name) != nil {
		return err // an earlier run made it
	}
	return api.CreateBond(ctx, s.ID, s.Bond.Name, s.Parents, s.Bond.Params)
}

// Name implements Step.
func (s CreateBridge) Name() string {
	return fmt.Sprintf("make bridge %s on %s%s", s.Bridge, s.Parent, shown(s.Params))
}

// Apply implements Step.
func (s CreateBridge) Apply(ctx context.Context, api API) error {
	all, err := s.interfaces(ctx, api)
	if err != nil || named(all, s.Bridge) != nil {
		return err
	}
	on := named(all, s.Parent)
	if on == nil {
		return fmt.Errorf("cannot make bridge %s on %s: MAAS has no interface %s there any more: apply again", s.Bridge, s.Hostname, s.Parent)
	}
	return api.CreateBridge(ctx, s.ID, s.Bridge, on.ID, s.Params)
}

// Name implements Step.
func (s ChangeInterface) Name() string { return "change " + s.Interface + shown(s.Params) }

// Apply implements Step.
func (s ChangeInterface) Apply(ctx context.Context, api API) error {
	i, err := s.find(ctx, api, s.Interface)
	if err != nil {
		return err
	}
	return api.ChangeInterface(ctx, s.ID, i.ID, s.Params)
}

// way shows how a link comes by its address.
func (l Link) way() string {
	if l.Address != "" {
		return l.Address
	}
	return strings.ReplaceAll(l.Mode, "_", "-")
}

// Name implements Step.
func (s LinkSubnet) Name() string {
	if s.Link.CIDR == "" {
		return fmt.Sprintf("set %s to %s", s.Interface, s.Link.way())
	}
	return fmt.Sprintf("link %s to %s (%s)", s.Interface, s.Link.CIDR, s.Link.way())
}

// Apply implements Step.
func (s LinkSubnet) Apply(ctx context.Context, api API) error {
	i, err := s.find(ctx, api, s.Interface)
	if err != nil || slices.ContainsFunc(i.Links, s.Link.is) {
		return err
	}
	return api.Link(ctx, s.ID, i.ID, s.Link)
}

// is reports whether a link is as it is wanted.
func (l Link) is(has Link) bool {
	return has.Mode == l.Mode && (l.Subnet == 0 || has.Subnet == l.Subnet) && (l.Address == "" || has.Address == l.Address)
}

// Name implements Step.
func (s Unlink) Name() string {
	if s.Link.CIDR == "" {
		return fmt.Sprintf("unlink %s (%s)", s.Interface, s.Link.way())
	}
	return fmt.Sprintf("unlink %s from %s (%s)", s.Interface, s.Link.CIDR, s.Link.way())
}

// Apply implements Step.
func (s Unlink) Apply(ctx context.Context, api API) error {
	i, err := s.find(ctx, api, s.Interface)
	if err != nil || !slices.ContainsFunc(i.Links, func(l Link) bool { return l.ID == s.Link.ID }) {
		return err
	}
	return api.Unlink(ctx, s.ID, i.ID, s.Link.ID)
}

// Name implements Step.
func (s SetStorage) Name() string {
	name := fmt.Sprintf("set storage layout %s: %s", s.Layout, s.Was)
	if s.Tag.Disk != "" {
		name += fmt.Sprintf(" (tag %s is on %s alone meanwhile)", ssdTag, s.Tag.Disk)
	}
	return name
}

// Apply implements Step.
func (s SetStorage) Apply(ctx context.Context, api API) error {
	if err := s.ready(ctx, api); err != nil {
		return err
	}
	err := s.Tag.move(ctx, api, s.ID)
	if err == nil {
		err = api.SetStorageLayout(ctx, s.ID, s.Layout, s.Params)
	}
	return errors.Join(err, s.Tag.undo(ctx, api, s.ID)) // also when MAAS refuses
}

// Title is a step's name with the machine that it is about.
func Title(s Step) string {
	if s.On() == "" {
		return s.Name()
	}
	return s.On() + ": " + s.Name()
}

// Apply walks a plan and reports done of each step. A machine whose step fails is left where it
// is, and the others are gone on with; a tag that cannot be made is not given. The error has
// all that failed.
func Apply(ctx context.Context, api API, steps []Step, done func(s Step, err error)) error {
	var failures []error
	failed := map[string]bool{}
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(failures, fmt.Errorf("stopped before %q: apply again to carry on", Title(s)))...)
		}
		key := s.On()
		switch s := s.(type) {
		case CreateTag:
			key = "tag " + s.Tag.Name
		case ChangeTag:
			key = "tag " + s.Tag
		case AddTag:
			key = "tag " + s.Tag
		}
		if failed[key] {
			continue
		}
		err := s.Apply(ctx, api)
		if err != nil {
			failed[key] = true
			failures = append(failures, fmt.Errorf("%s: %w", Title(s), err))
		}
		done(s, err)
	}
	return errors.Join(failures...)
}
