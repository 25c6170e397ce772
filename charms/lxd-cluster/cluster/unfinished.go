package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// Unfinished is a member that LXD has accepted and that has not joined: its join is under way, or broke
// off. LXD keeps a row for it that it does not list, and refuses any later join with its name or address
// (Accept in lxd/cluster/membership.go).
type Unfinished struct{ Name, Address string }

// unfinishedState is the state in such a row (ClusterMemberStatePending in lxd/db/node.go).
const unfinishedState = 1

// Unfinished implements LXD.
func (s *LocalLXD) Unfinished(ctx context.Context) ([]Unfinished, error) {
	rows, err := s.query(ctx, "global", fmt.Sprintf("SELECT name, address FROM nodes WHERE state = %d ORDER BY name", unfinishedState))
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's unfinished joins: %w", err)
	}
	var all []Unfinished
	for _, row := range rows {
		if len(row) != 2 {
			return nil, fmt.Errorf("cannot list LXD's unfinished joins: row is %v, wanted a name and an address", row)
		}
		all = append(all, Unfinished{fmt.Sprint(row[0]), fmt.Sprint(row[1])})
	}
	return all, nil
}

// DropUnfinished implements LXD. What refers to the row is deleted with it, as when LXD removes a member
// (RemoveNode in lxd/db/node.go).
func (s *LocalLXD) DropUnfinished(ctx context.Context, name string) error {
	_, err := s.query(ctx, "global", fmt.Sprintf("DELETE FROM nodes WHERE name = '%s' AND state = %d", strings.ReplaceAll(name, "'", "''"), unfinishedState))
	if err != nil {
		return fmt.Errorf("cannot remove LXD's entry of %s: %w", name, err)
	}
	return nil
}

// query runs a statement on one of LXD's databases, as `lxd sql` does, and returns the rows.
func (s *LocalLXD) query(ctx context.Context, database, statement string) ([][]any, error) {
	server, err := s.Server(ctx)
	if err != nil {
		return nil, err
	}
	answer, _, err := server.RawQuery("POST", "/internal/sql", map[string]string{"database": database, "query": statement}, "")
	if err != nil {
		return nil, err
	}
	var batch struct {
		Results []struct {
			Rows [][]any `json:"rows"`
		}
	}
	if err := answer.MetadataAsStruct(&batch); err != nil {
		return nil, err
	}
	var rows [][]any
	for _, result := range batch.Results {
		rows = append(rows, result.Rows...)
	}
	return rows, nil
}

// brokenOff returns the join that broke off and prevents that request; nil if there is none. A join that
// may be under way does not count.
func (f Facts) brokenOff(w lxdcluster.JoinRequest) *Unfinished {
	if f.hasValidToken(w.Member) {
		return nil
	}
	at := slices.IndexFunc(f.Unfinished, func(u Unfinished) bool { return u.Name == w.Member || u.Address == w.Address })
	if at < 0 {
		return nil
	}
	return &f.Unfinished[at]
}

// hasValidToken reports whether a token for a member can still be used, so that its join may be under way.
func (f Facts) hasValidToken(member string) bool {
	good := func(b PeerData) bool { return b.HasToken && b.Token.Member == member && f.Now.Before(b.Token.Expires) }
	used := func(b PeerData) bool { return b.Request.UsedToken == f.Mine.Token.ID && b.Request.Member == member }
	if good(f.Mine) && !slices.ContainsFunc(f.sortedPeers(), func(unit string) bool { return used(f.Peers[unit]) }) {
		return true
	}
	return slices.ContainsFunc(f.sortedPeers(), func(unit string) bool { return good(f.Peers[unit]) })
}

// brokenJoins returns which unit cannot join because of a join that broke off; empty if all can.
func (f Facts) brokenJoins() string {
	if f.coordinator() != f.Unit {
		return ""
	}
	for _, unit := range f.joiners(func(w lxdcluster.JoinRequest) bool { return f.brokenOff(w) != nil }) {
		left := f.brokenOff(f.Peers[unit].Request)
		return fmt.Sprintf("%s cannot join: LXD still has an earlier join of member %s (%s) that broke off: juju run %s remove-member member=%s force=true", unit, left.Name, left.Address, f.Unit, left.Name)
	}
	return ""
}

// removeUnfinished is RemoveMember for a member that has not joined. ok is false if there is none of that
// name.
func (f Facts) removeUnfinished(ctx context.Context, w Env, call charm.Call, name string) (results map[string]string, ok bool, err error) {
	all, err := w.LXD.Unfinished(ctx)
	if err != nil || !slices.ContainsFunc(all, func(u Unfinished) bool { return u.Name == name }) {
		return nil, false, err
	}
	switch {
	case f.hasValidToken(name):
		return nil, true, fmt.Errorf("cannot remove member %s: it may be joining now: wait for its unit", name)
	case !call.Bool("force"):
		return map[string]string{"member": name}, true, fmt.Errorf("cannot remove member %s without force=true: its join broke off, or is under way by hand: nothing is located there", name)
	}
	if err := w.LXD.DropUnfinished(ctx, name); err != nil {
		return nil, true, err
	}
	return map[string]string{"member": name, "members": strings.Join(memberNames(f.LXD.Members), ", ")}, true, nil
}
