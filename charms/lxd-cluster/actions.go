package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dcib/dcib/charms/lxd-cluster/backup"
	"github.com/dcib/dcib/charms/lxd-cluster/broker"
	"github.com/dcib/dcib/charms/lxd-cluster/cloud"
	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/trust"
	"github.com/dcib/dcib/charms/lxd-cluster/upgrade"
	"github.com/dcib/dcib/internal/charm"
)

// listMembers is the action list-members.
func listMembers(_ context.Context, f facts, _ *env, _ charm.Call) (map[string]string, error) {
	if !f.Cluster.LXD.Clustered {
		return nil, errors.New("cannot list members: this machine's LXD is in no cluster yet: see the unit's status")
	}
	var lines strings.Builder
	for _, m := range f.Cluster.LXD.Members {
		fmt.Fprintf(&lines, "%s %s %s\n", m.Name, m.Address, strings.ToLower(m.Status))
	}
	return map[string]string{
		"count":   fmt.Sprint(len(f.Cluster.LXD.Members)),
		"members": strings.TrimSuffix(lines.String(), "\n"),
	}, nil
}

// listRequesters is the action list-requesters.
func listRequesters(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	return broker.ListRequesters(ctx, f.Broker, w.broker(), call)
}

// showPlan is the action show-plan: the steps that a hook would take now.
func showPlan(_ context.Context, f facts, _ *env, _ charm.Call) (map[string]string, error) {
	p := newCharm().PlanOf(f)
	lines := make([]string, len(p.Steps))
	for i, step := range p.Steps {
		lines[i] = step.Name()
	}
	if len(lines) == 0 {
		lines = []string{"nothing to do"}
	}
	return map[string]string{
		"plan":   strings.Join(lines, "\n"),
		"status": string(p.Status.Level) + ": " + p.Status.Message,
	}, nil
}

func removeMember(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	return cluster.RemoveMember(ctx, f.cluster(), w.cluster(), call)
}

func recoverFromQuorumLoss(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	return cluster.RecoverFromQuorumLoss(ctx, f.cluster(), w.cluster(), call)
}

func resetLXD(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	return cluster.Reset(ctx, f.cluster(), w.cluster(), call)
}

func addTrustedClient(ctx context.Context, _ facts, w *env, call charm.Call) (map[string]string, error) {
	return trust.AddClient(ctx, w.trust(), call)
}

func removeTrustedClient(ctx context.Context, _ facts, w *env, call charm.Call) (map[string]string, error) {
	return trust.RemoveClient(ctx, w.trust(), call)
}

func evacuateMember(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	return cluster.Evacuate(ctx, f.cluster(), w.cluster(), call)
}

func restoreMember(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	return cluster.Restore(ctx, f.cluster(), w.cluster(), call)
}

func getClientToken(ctx context.Context, _ facts, w *env, call charm.Call) (map[string]string, error) {
	return trust.ClientToken(ctx, w.trust(), call)
}

func getCloud(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	if !f.Cluster.LXD.Clustered {
		return nil, errors.New("cannot get cloud: this machine's LXD is in no cluster yet: see the unit's status")
	}
	return cloud.Get(ctx, w.cloud(), call)
}

func createBackup(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	if !f.Cluster.LXD.Clustered {
		return nil, errors.New("cannot back up: this machine's LXD is in no cluster yet: see the unit's status")
	}
	return backup.Backup(ctx, w.backup(), call)
}

func upgradeLXD(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	return upgrade.Upgrade(ctx, upgrade.FactsOf(f.Cluster, f.Install), w.upgrade(f), call)
}
