//go:build !juju4

package main

import (
	"fmt"
	"maps"
	"time"

	"github.com/juju/charm/v12"
	"github.com/juju/cmd/v3"
	"github.com/juju/errors"
	"github.com/juju/loggo"
	"github.com/juju/names/v5"
	"github.com/juju/utils/v3/exec"

	"github.com/juju/juju/core/application"
	"github.com/juju/juju/core/life"
	"github.com/juju/juju/core/network"
	"github.com/juju/juju/core/relation"
	"github.com/juju/juju/core/secrets"
	"github.com/juju/juju/internal/worker/uniter/runner/jujuc"
	"github.com/juju/juju/juju/sockets"
	"github.com/juju/juju/rpc/params"
	"github.com/juju/juju/storage"
	jujuversion "github.com/juju/juju/version"
)

var version = jujuversion.Current.String()

type (
	command      = cmd.Command
	execResponse = exec.ExecResponse
)

func newServer(get func(id, name string) (command, error), socket sockets.Socket) (*jujuc.Server, error) {
	return jujuc.NewServer(get, socket, token)
}

// What the controller of 3.6.11 answers; file and function are of its source.
const ownBagByLeader = true // apiserver/facades/agent/uniter/uniter.go, getRemoteRelationAppSettings

var errRelationRemoved = errPermission // the same file, getRelation

// errNoUnit: state/relationunit.go, ReadSettings.
func errNoUnit(r *Relation, unit string) error {
	return errors.Annotatef(errors.Annotatef(errors.NotFoundf("settings"), "unit %q", unit),
		"cannot read settings for unit %q in relation %q", unit, r.key(unit))
}

// errNoSecret: state/secrets.go, checkExists.
func errNoSecret(id string) error { return errors.NotFoundf("secret %q", "secret:"+id) }

// errNoOwnSecret: HookContext.GrantSecret.
func errNoOwnSecret(id string) error { return errors.NotFoundf("secret %q", id) }

// errNotAttached: apiserver/common/storagecommon/storage.go, StorageAttachmentInfo.
func errNotAttached(kind, id, _ string) error {
	if kind == "block" {
		return errors.NotProvisionedf("%v", names.ReadableString(names.NewStorageTag(id)))
	}
	return errors.NotProvisionedf("filesystem for storage %q", id)
}

// key is the relation's key: "a:x b:y", or "a:x" of a peer relation.
func (r *Relation) key(unit string) string {
	if r.Peer {
		app, _ := names.UnitApplication(unit)
		return app + ":" + r.Endpoint
	}
	return "app:" + r.Endpoint + " " + r.App + ":" + r.Endpoint
}

// Context is a hook as 3.6 wants it. What it does not have, RestrictedContext refuses.
type Context struct {
	jujuc.RestrictedContext
	*hook
}

func newContext(h *hook) jujuc.Context { return &Context{hook: h} }

var _ jujuc.Context = (*Context)(nil)

func (c *Context) UnitName() string { return c.Unit }

func (c *Context) ConfigSettings() (charm.Settings, error) {
	settings := charm.Settings{}
	maps.Copy(settings, c.Config)
	return settings, nil
}

func (c *Context) IsLeader() (bool, error) { return c.Leader, nil }

func (c *Context) GoalState() (*application.GoalState, error) {
	units := application.UnitsGoalState{}
	since := time.Unix(0, 0)
	for unit, status := range c.Goal {
		units[unit] = application.GoalStateStatus{Status: status, Since: &since}
	}
	return &application.GoalState{Units: units, Relations: map[string]application.UnitsGoalState{}}, nil
}

func (c *Context) NetworkInfo(endpoints []string, _ int) (map[string]params.NetworkInfoResult, error) {
	all := map[string]params.NetworkInfoResult{}
	for _, endpoint := range endpoints {
		all[endpoint] = networkInfo(c.Network[endpoint])
	}
	return all, nil
}

func (c *Context) Relation(id int) (jujuc.ContextRelation, error) {
	r := c.relation(id)
	if r == nil {
		return nil, errors.NotFoundf("relation") // HookContext.Relation
	}
	return &contextRelation{c.hook, r}, nil
}

func (c *Context) RelationIds() ([]int, error) { return c.relationIDs(), nil }

func (c *Context) HookRelation() (jujuc.ContextRelation, error) {
	for _, r := range c.Relations {
		if fakeID(r) == c.InHookOf {
			return &contextRelation{c.hook, r}, nil
		}
	}
	return nil, errors.NotFoundf("relation")
}

func (c *Context) RemoteUnitName() (string, error) { return "", errors.NotFoundf("remote unit") }

func (c *Context) RemoteApplicationName() (string, error) {
	return "", errors.NotFoundf("saas application")
}

func (c *Context) UnitStatus() (*jujuc.StatusInfo, error) {
	s := c.status()
	return &jujuc.StatusInfo{Status: s.Status, Info: s.Message}, nil
}

func (c *Context) SetUnitStatus(s jujuc.StatusInfo) error {
	c.setStatus(Status{s.Status, s.Info})
	return nil
}

func (c *Context) SetUnitWorkloadVersion(version string) error {
	c.did(Effect{What: "set-version", Text: version})
	return nil
}

func (c *Context) StorageTags() ([]names.StorageTag, error) {
	tags := []names.StorageTag{}
	for id := range c.World.Storage {
		tags = append(tags, names.NewStorageTag(id))
	}
	return tags, nil
}

func (c *Context) HookStorage() (jujuc.ContextStorageAttachment, error) { return nil, errors.NotFound }

func (c *Context) Storage(tag names.StorageTag) (jujuc.ContextStorageAttachment, error) {
	a, err := c.attachment(tag.Id())
	if err != nil {
		return nil, err
	}
	return contextStorage{tag, a}, nil
}

func (c *Context) GetSecret(uri *secrets.URI, _ string, refresh, peek bool) (secrets.SecretValue, error) {
	s, err := c.secret(uri.ID)
	if err != nil {
		return nil, err
	}
	c.did(Effect{What: "get-secret", Of: uri.ID, Text: fmt.Sprintf("refresh=%t peek=%t", refresh, peek)})
	return secretValue(s.Content), nil
}

func (c *Context) CreateSecret(args *jujuc.SecretCreateArgs) (*secrets.URI, error) {
	if args.OwnerTag.Kind() == names.ApplicationTagKind {
		if err := c.mustLead(); err != nil {
			return nil, err
		}
	}
	return c.createSecret(args.OwnerTag.String(), args.Label, args.Value)
}

func (c *Context) UpdateSecret(uri *secrets.URI, args *jujuc.SecretUpdateArgs) error {
	return c.updateSecret(uri, args.Value)
}

func (c *Context) SecretMetadata() (map[string]jujuc.SecretMetadata, error) {
	all := map[string]jujuc.SecretMetadata{}
	for id, s := range c.Secrets {
		if s.Owner != c.app() {
			continue
		}
		all[id] = jujuc.SecretMetadata{
			Owner: names.NewApplicationTag(s.Owner), Label: s.Label, RotatePolicy: secrets.RotateNever,
			LatestRevision: 1, Access: access(s),
		}
	}
	return all, nil
}

func (c *Context) GrantSecret(uri *secrets.URI, args *jujuc.SecretGrantRevokeArgs) error {
	return c.grantSecret(uri, *args.RelationKey, *args.ApplicationName, args.UnitName)
}

func (c *Context) OpenPortRange(endpoint string, ports network.PortRange) error {
	c.did(Effect{What: "open-port", Of: endpoint, Text: ports.String()})
	return nil
}

func (c *Context) ClosePortRange(endpoint string, ports network.PortRange) error {
	c.did(Effect{What: "close-port", Of: endpoint, Text: ports.String()})
	return nil
}

func (c *Context) OpenedPortRanges() network.GroupedPortRanges { return portRanges(c.Ports) }

func (c *Context) ActionParams() (map[string]interface{}, error) { return c.Params, c.inAction() }

func (c *Context) UpdateActionResults(keys []string, value interface{}) error {
	return c.actionResult(keys, value)
}

func (c *Context) SetActionMessage(message string) error { return c.actionMessage(message) }

func (c *Context) SetActionFailed() error { return c.actionFailed() }

func (c *Context) LogActionMessage(message string) error { return c.actionLog(message) }

func (c *Context) GetLogger(module string) loggo.Logger {
	context := loggo.NewContext(loggo.TRACE)
	_ = context.AddWriter("record", logWriter{c.hook})
	return context.GetLogger(module)
}

// logWriter records what is logged.
type logWriter struct{ *hook }

func (w logWriter) Write(e loggo.Entry) {
	w.did(Effect{What: "log", Of: e.Level.String(), Text: e.Message})
}

// contextRelation is a Relation as 3.6 wants it.
type contextRelation struct {
	h *hook
	r *Relation
}

func (c *contextRelation) Id() int { return c.r.ID }

func (c *contextRelation) Name() string { return c.r.Endpoint }

func (c *contextRelation) RelationTag() names.RelationTag {
	return names.NewRelationTag(c.r.key(c.h.Unit))
}

func (c *contextRelation) FakeId() string { return fakeID(c.r) }

func (c *contextRelation) Settings() (jujuc.Settings, error) { return c.owned(c.h.Unit) }

func (c *contextRelation) ApplicationSettings() (jujuc.Settings, error) { return c.owned(c.h.app()) }

func (c *contextRelation) owned(owner string) (jujuc.Settings, error) {
	s, err := c.h.own(c.r, owner)
	if err != nil {
		return nil, err
	}
	return contextSettings{s}, nil
}

func (c *contextRelation) UnitNames() []string { return c.r.Units }

func (c *contextRelation) ReadSettings(unit string) (params.Settings, error) {
	return c.h.read(c.r, unit)
}

func (c *contextRelation) ReadApplicationSettings(app string) (params.Settings, error) {
	return c.h.read(c.r, app)
}

func (c *contextRelation) Suspended() bool { return false }

func (c *contextRelation) SetStatus(relation.Status) error { return jujuc.ErrRestrictedContext }

func (c *contextRelation) RemoteApplicationName() string { return c.r.App }

func (c *contextRelation) RemoteModelUUID() string { return "" }

func (c *contextRelation) Life() life.Value { return life.Alive }

type contextSettings struct{ *settings }

func (s contextSettings) Map() params.Settings { return s.values() }

type contextStorage struct {
	tag names.StorageTag
	at  *Attachment
}

func (s contextStorage) Tag() names.StorageTag { return s.tag }

func (s contextStorage) Kind() storage.StorageKind {
	if s.at.Kind == "block" {
		return storage.StorageKindBlock
	}
	return storage.StorageKindFilesystem
}

func (s contextStorage) Location() string { return s.at.Location }
