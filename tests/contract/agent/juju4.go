//go:build juju4

package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/juju/errors"
	"github.com/juju/loggo/v3"
	"github.com/juju/names/v6"
	"github.com/juju/utils/v4/exec"

	"github.com/juju/juju/cmd/cmd"
	"github.com/juju/juju/core/application"
	"github.com/juju/juju/core/life"
	corelogger "github.com/juju/juju/core/logger"
	"github.com/juju/juju/core/network"
	"github.com/juju/juju/core/relation"
	"github.com/juju/juju/core/secrets"
	jujuversion "github.com/juju/juju/core/version"
	"github.com/juju/juju/domain/deployment/charm"
	internallogger "github.com/juju/juju/internal/logger"
	"github.com/juju/juju/internal/storage"
	"github.com/juju/juju/internal/worker/uniter/runner/jujuc"
	"github.com/juju/juju/juju/sockets"
	"github.com/juju/juju/rpc/params"
)

var version = jujuversion.Current.String()

type (
	command      = cmd.Command
	execResponse = exec.ExecResponse
)

func newServer(get func(id, name string) (command, error), socket sockets.Socket) (*jujuc.Server, error) {
	return jujuc.NewServer(get, socket)
}

// What the controller of 4.1-beta2 answers; file and function are of its source.
const ownBagByLeader = false // apiserver/facades/agent/uniter/uniter.go, readOneRemoteSettings

// The same file and function; domain/relation/service/relation.go, GetRelationUUIDByKey.
var errRelationRemoved = errors.New("getting regular relation by key: relation not found")

// errNoUnit: domain/relation/service/relation.go, GetRelationUnitSettings.
func errNoUnit(*Relation, string) error { return errors.New("relation unit not found") }

// errNoSecret: apiserver/facades/agent/secretsmanager/secrets.go, getSecretContent.
func errNoSecret(id string) error {
	return errors.Annotate(errors.Errorf("secret %q not found", id), "getting latest secret revision")
}

// errNoOwnSecret: HookContext.GrantSecret.
func errNoOwnSecret(id string) error { return errors.NotFoundf("secret %q", id) }

// errNotAttached: apiserver/facades/agent/uniter/storage.go, StorageAttachments.
func errNotAttached(kind, id, unit string) error {
	switch kind {
	case "block":
		return errors.Errorf("storage attachment %q for unit %q not provisioned", id, unit)
	case "filesystem":
		return errors.Errorf("mount point for storage attachment %q for unit %q missing", id, unit)
	}
	return errors.Errorf("storage attachment not found for %q %q", id, unit)
}

// key is the relation's key: "a:x b:y", or "a:x" of a peer relation.
func (r *Relation) key(unit string) string {
	if r.Peer {
		app, _ := names.UnitApplication(unit)
		return app + ":" + r.Endpoint
	}
	return "app:" + r.Endpoint + " " + r.App + ":" + r.Endpoint
}

// Context is a hook as 4 wants it. What it does not have, RestrictedContext refuses.
type Context struct {
	jujuc.RestrictedContext
	*hook
}

func newContext(h *hook) jujuc.Context { return &Context{hook: h} }

var _ jujuc.Context = (*Context)(nil)

func (c *Context) UnitName() string { return c.Unit }

func (c *Context) ConfigSettings(context.Context) (charm.Config, error) {
	settings := charm.Config{}
	maps.Copy(settings, c.Config)
	return settings, nil
}

func (c *Context) IsLeader() (bool, error) { return c.Leader, nil }

func (c *Context) GoalState(context.Context) (*application.GoalState, error) {
	units := application.UnitsGoalState{}
	since := time.Unix(0, 0)
	for unit, status := range c.Goal {
		units[unit] = application.GoalStateStatus{Status: status, Since: &since}
	}
	return &application.GoalState{Units: units, Relations: map[string]application.UnitsGoalState{}}, nil
}

func (c *Context) NetworkInfo(_ context.Context, endpoints []string, _ int) (map[string]params.NetworkInfoResult, error) {
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

func (c *Context) UnitStatus(context.Context) (*jujuc.StatusInfo, error) {
	s := c.status()
	return &jujuc.StatusInfo{Status: s.Status, Info: s.Message}, nil
}

func (c *Context) SetUnitStatus(_ context.Context, s jujuc.StatusInfo) error {
	c.setStatus(Status{s.Status, s.Info})
	return nil
}

func (c *Context) SetUnitWorkloadVersion(_ context.Context, version string) error {
	c.did(Effect{What: "set-version", Text: version})
	return nil
}

func (c *Context) StorageTags(context.Context) ([]names.StorageTag, error) {
	tags := []names.StorageTag{}
	for id := range c.World.Storage {
		tags = append(tags, names.NewStorageTag(id))
	}
	return tags, nil
}

func (c *Context) HookStorage(context.Context) (jujuc.ContextStorageAttachment, error) {
	return nil, errors.NotFound
}

func (c *Context) Storage(_ context.Context, tag names.StorageTag) (jujuc.ContextStorageAttachment, error) {
	a, err := c.attachment(tag.Id())
	if err != nil {
		return nil, err
	}
	return contextStorage{tag, a}, nil
}

func (c *Context) GetSecret(_ context.Context, uri *secrets.URI, _ string, refresh, peek bool) (secrets.SecretValue, error) {
	s, err := c.secret(uri.ID)
	if err != nil {
		return nil, err
	}
	c.did(Effect{What: "get-secret", Of: uri.ID, Text: fmt.Sprintf("refresh=%t peek=%t", refresh, peek)})
	return secretValue(s.Content), nil
}

func (c *Context) CreateSecret(_ context.Context, args *jujuc.SecretCreateArgs) (*secrets.URI, error) {
	if args.Owner.Kind == secrets.ApplicationOwner {
		if err := c.mustLead(); err != nil {
			return nil, err
		}
	}
	return c.createSecret(args.Owner.String(), args.Label, args.Value)
}

func (c *Context) UpdateSecret(_ context.Context, uri *secrets.URI, args *jujuc.SecretUpdateArgs) error {
	return c.updateSecret(uri, args.Value)
}

func (c *Context) SecretMetadata(context.Context) (map[string]jujuc.SecretMetadata, error) {
	all := map[string]jujuc.SecretMetadata{}
	for id, s := range c.Secrets {
		if s.Owner != c.app() {
			continue
		}
		all[id] = jujuc.SecretMetadata{
			Owner: secrets.Owner{Kind: secrets.ApplicationOwner, ID: s.Owner}, Label: s.Label, RotatePolicy: secrets.RotateNever,
			LatestRevision: 1, Access: access(s),
		}
	}
	return all, nil
}

func (c *Context) GrantSecret(_ context.Context, uri *secrets.URI, args *jujuc.SecretGrantRevokeArgs) error {
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

func (c *Context) ActionParams() (map[string]any, error) { return c.Params, c.inAction() }

func (c *Context) UpdateActionResults(keys []string, value any) error {
	return c.actionResult(keys, value)
}

func (c *Context) SetActionMessage(message string) error { return c.actionMessage(message) }

func (c *Context) SetActionFailed() error { return c.actionFailed() }

func (c *Context) LogActionMessage(_ context.Context, message string) error {
	return c.actionLog(message)
}

func (c *Context) GetLoggerByName(module string) corelogger.Logger {
	context := loggo.NewContext(loggo.TRACE)
	_ = context.AddWriter("record", logWriter{c.hook})
	return internallogger.WrapLoggoContext(context).GetLogger(module)
}

// logWriter records what is logged.
type logWriter struct{ *hook }

func (w logWriter) Write(_ context.Context, e loggo.Entry) error {
	w.did(Effect{What: "log", Of: e.Level.String(), Text: e.Message})
	return nil
}

// contextRelation is a Relation as 4 wants it.
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

func (c *contextRelation) Settings(context.Context) (jujuc.Settings, error) { return c.owned(c.h.Unit) }

func (c *contextRelation) ApplicationSettings(context.Context) (jujuc.Settings, error) {
	return c.owned(c.h.app())
}

func (c *contextRelation) owned(owner string) (jujuc.Settings, error) {
	s, err := c.h.own(c.r, owner)
	if err != nil {
		return nil, err
	}
	return contextSettings{s}, nil
}

func (c *contextRelation) UnitNames() []string { return c.r.Units }

func (c *contextRelation) ReadSettings(_ context.Context, unit string) (params.Settings, error) {
	return c.h.read(c.r, unit)
}

func (c *contextRelation) ReadApplicationSettings(_ context.Context, app string) (params.Settings, error) {
	return c.h.read(c.r, app)
}

func (c *contextRelation) Suspended() bool { return false }

func (c *contextRelation) SetStatus(context.Context, relation.Status) error {
	return jujuc.ErrRestrictedContext
}

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
