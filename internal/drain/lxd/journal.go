package drainlxd

import (
	"context"
	"fmt"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
)

// RecordKey is the key of a member's config that holds its drain record. It is in LXD itself, beside the
// state that it explains, so it exists exactly as long as the member does.
const RecordKey = "user.dcib.drain"

// schedulerKey is LXD's key that controls which instances its scheduler places on the member.
const schedulerKey = "scheduler.instance"

// Records implements drain.Journal.
func (c Cluster) Records(context.Context) (map[string]drain.Record, error) {
	members, err := c.Server.GetClusterMembers()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's cluster members: %w", err)
	}
	return RecordsOf(members)
}

// RecordsOf returns the drain records in the members' config, by member.
func RecordsOf(members []api.ClusterMember) (map[string]drain.Record, error) {
	records := map[string]drain.Record{}
	for _, m := range members {
		text := m.Config[RecordKey]
		if text == "" {
			continue
		}
		record, err := drain.Decode(text)
		if err != nil {
			return nil, fmt.Errorf("cannot use %s of member %s (`lxc cluster get %s %s`): %w", RecordKey, m.ServerName, m.ServerName, RecordKey, err)
		}
		records[m.ServerName] = record
	}
	return records, nil
}

// Write implements drain.Journal.
func (c Cluster) Write(_ context.Context, member string, before, after *drain.Record) error {
	err := retryConflict(func() error {
		there, etag, err := c.Server.GetClusterMember(member)
		if err != nil {
			return err
		}
		if !sameRecord(there.Config[RecordKey], before) {
			return drain.ErrConflict
		}
		schedule, err := drain.SchedulerFor(there.Config[schedulerKey], before, after)
		if err != nil {
			return err
		}
		put := there.Writable()
		if put.Config == nil {
			put.Config = map[string]string{}
		}
		delete(put.Config, RecordKey)
		if after != nil {
			put.Config[RecordKey] = after.Encode()
		}
		delete(put.Config, schedulerKey)
		if schedule != "" {
			put.Config[schedulerKey] = schedule
		}
		return c.Server.UpdateClusterMember(member, put, etag)
	})
	if err != nil {
		return fmt.Errorf("cannot write %s of member %s: %w", RecordKey, member, err)
	}
	return nil
}

// sameRecord reports whether text is the record; an older version may have encoded it in another way.
func sameRecord(text string, record *drain.Record) bool {
	if text == "" || record == nil {
		return text == "" && record == nil
	}
	there, err := drain.Decode(text)
	return err == nil && there.Encode() == record.Encode()
}
