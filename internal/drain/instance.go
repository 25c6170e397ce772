package drain

// Ref identifies an instance.
type Ref struct {
	Project string `json:"project"`
	Name    string `json:"name"`
}

// String returns the name as an operator knows it: with its project unless that is LXD's default one.
func (r Ref) String() string {
	if r.Project == "" || r.Project == "default" {
		return r.Name
	}
	return r.Project + "/" + r.Name
}

// Instance is a container or a virtual machine.
type Instance struct {
	Ref
	// ID stays the same wherever the instance goes (volatile.uuid); it distinguishes a new instance
	// from a deleted one of the same name. Empty when LXD gave it none.
	ID     string
	Member string // where it is
	// HalfMoved reports that LXD has it under a temporary name: a move put it on its member, deleted
	// what was elsewhere, and then failed, or was killed, before it renamed it.
	HalfMoved bool
	// CopyOf is the ID of the instance that it is a copy of, made for the drain or undrain of the member
	// CopyFor; both are empty when it is none. Under its final name it is one that was not settled yet,
	// see Mover.Adopt.
	CopyOf, CopyFor string
	// Replaced reports that its copy has taken its name: it is to be deleted.
	Replaced bool
	// Unobserved reports that only its name and member are known: the member is Offline, or its LXD
	// does not answer. All other fields are empty then, and nothing may be concluded from them.
	Unobserved   bool
	Running      bool
	Architecture string
	// Group is the cluster group that it was launched in (volatile.cluster.group, LXD 5.21.5 and
	// 6.6): it moves to members of that group only, and LXD removes the key with each move to a member.
	Group string
	// CloudInitID is the id by which cloud-init inside knows the instance
	// (volatile.cloud-init.instance-id). LXD makes another with each move, and cloud-init then takes
	// the next start for the first: it makes new SSH host keys and runs the user data again.
	CloudInitID  string
	Frozen       bool // it runs, and is frozen
	Requirements Requirements
	Ephemeral    bool // LXD deletes it when it stops
	LiveMovable  bool // LXD can move it while it runs
	// Evacuate is its cluster.evacuate: "" (as "auto"), "migrate", "live-migrate", "stop".
	Evacuate string
	// MayStop reports that, when it cannot move, it may be stopped where it is, whatever its
	// cluster.evacuate: option unmovable of the pet that it is on.
	MayStop bool
	// LocalDevices are the devices that keep it on its member when Evacuate is "auto": LXD does not
	// move them, and nothing is known of a counterpart elsewhere.
	LocalDevices []string
	// HostDevices are the devices that need something of the host, which other members may have: it
	// moves to these only.
	HostDevices []HostDevice
	// Origin is the member that an evacuation took it from (volatile.evacuate.origin).
	Origin string
	// ShouldRun reports that LXD means it to run (volatile.last_state.power is RUNNING): it is stopped
	// because of an evacuation and not by an operator.
	ShouldRun bool
}

// evacuatesByDefault reports whether an instance leaves it to LXD whether it moves: cluster.evacuate.
func (i Instance) evacuatesByDefault() bool { return i.Evacuate == "" || i.Evacuate == "auto" }
