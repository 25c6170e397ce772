package drain

import (
	"fmt"
	"slices"
	"strings"
)

// StoppedByEvacuation reports whether LXD's own evacuation stops an instance where it is although
// another member may have it: cluster.evacuate leaves it to LXD, and a device uses something of the
// member that LXD does not manage.
func (v View) StoppedByEvacuation(i Instance) bool {
	return i.evacuatesByDefault() && slices.ContainsFunc(i.HostDevices, func(d HostDevice) bool {
		return !v.Capacities[i.Member].ManagedResources[d.Resource]
	})
}

// deletedOnStop reports whether a running ephemeral instance may be deleted when its member is drained:
// all but those that LXD moves while they run. One that LXD's own evacuation would stop is among them:
// should its move fail, that evacuation would be next.
func (v View) deletedOnStop(i Instance) bool {
	return i.Ephemeral && (!i.LiveMovable || moveBlocker(v, i) != "" || v.StoppedByEvacuation(i))
}

// DeletedByEvacuation lists the running instances of a member that are deleted when it is evacuated.
func (v View) DeletedByEvacuation(member string) []Ref {
	var deleted []Ref
	for _, i := range v.instancesOn(member) {
		if i.Running && v.deletedOnStop(i) {
			deleted = append(deleted, i.Ref)
		}
	}
	return deleted
}

// EvacuationRefusal returns why LXD would refuse to evacuate an Online member, which it does before
// anything moves: its database would have too few voters. It is empty when LXD would not refuse, or
// does not check; the view is that of ObserveWithCapacity.
//
// The rule is that of LXD 6.9: the voters that are online have to be a majority now, and without the
// member a majority of those that are left, or another member has to be able to become a voter in its
// place. One that is evacuated cannot, nor one outside of the control plane where there is one.
func (v View) EvacuationRefusal(name string) string {
	target, _ := v.Member(name)
	if !v.ChecksVoters || !target.Voter || target.Status != Online {
		return ""
	}
	voters, online, controls := 0, 0, 0
	var offline, standby []string
	for _, m := range v.Members {
		if m.ControlPlane && m.Name != name {
			controls++
		}
		if m.Voter {
			voters++
			if m.Status == Offline {
				offline = append(offline, m.Name)
			} else {
				online++
			}
		}
	}
	for _, m := range v.Members {
		if m.Standby && m.Status == Online && (controls < 3 || m.ControlPlane) {
			standby = append(standby, m.Name)
		}
	}
	majority := func(n int) int { return n/2 + 1 }
	switch {
	case online >= majority(voters) && online-1 >= majority(voters-1):
		return ""
	case online >= majority(voters) && online > 1 && len(standby) > 0:
		return ""
	case len(offline) > 0:
		return fmt.Sprintf("LXD would refuse to evacuate it: its database has %d of %d voters online: bring back %s first", online, voters, strings.Join(offline, ", "))
	}
	return "LXD would refuse to evacuate it: its database has no voter without it: add a member to the cluster, so that three vote"
}
