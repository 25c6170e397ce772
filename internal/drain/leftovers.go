package drain

import "context"

// copiesFirst reports whether an instance is moved by CopyFirst.
func (v View) copiesFirst(i Instance) bool {
	name, _ := v.methodOf(i)
	return name == CopyFirst
}

// copyOf finds the copy of an entry's instance.
func (v View) copyOf(e Entry) (i Instance, ok bool) {
	for _, c := range v.Copies {
		if e.ID != "" && c.CopyOf == e.ID && !c.Replaced && c.Project == e.Project {
			return c, true
		}
	}
	return Instance{}, false
}

// replacedBy finds what an instance's copy has replaced: the instance has the name, and the other one is
// still to be deleted.
func (v View) replacedBy(i Instance) (original Instance, ok bool) {
	for _, c := range v.Copies {
		if i.ID != "" && c.Replaced && c.ID == i.ID && c.Project == i.Project {
			return c, true
		}
	}
	return Instance{}, false
}

// unsettled reports whether the swap of an instance with its copy is not complete: it has its name on
// its new member, and is not like the original in all, or the original is still there.
func (v View) unsettled(i Instance) bool {
	_, replaced := v.replacedBy(i)
	return i.CopyFor != "" || replaced
}

// leftovers lists what is on a member only because copies have replaced it.
func (v View) leftovers(member string) []Instance {
	var there []Instance
	for _, c := range v.Copies {
		if c.Replaced && c.Member == member {
			there = append(there, c)
		}
	}
	return there
}

// deleteLeftovers deletes the copies that no run needs: those for a member without a record, and those
// for the run's own member when it begins after one that ended, or, with end, when it ends. It also
// deletes what a copy has replaced for good. It reports whether there was anything.
func (r *run) deleteLeftovers(ctx context.Context, end bool) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	found := false
	for _, c := range r.view.Copies {
		if c.Unobserved {
			continue // a later run deletes it
		}
		if c.Replaced {
			if !r.view.replacedForGood(c) {
				continue
			}
		} else if record, ok := r.view.Records[c.CopyFor]; ok && (c.CopyFor != r.member || !end && record.Phase != Drained) {
			continue
		}
		found = true
		r.say("deleting %s on %s, which is not needed any more", c.Ref, c.Member)
		if err := r.Cluster.DeleteTemporary(ctx, c.Ref); err != nil {
			r.say("%s", err)
		}
	}
	return found
}

// replacedForGood reports whether what a copy has replaced is not needed any more: the copy has the
// name, is like the original in all, and runs, or is not meant to.
func (v View) replacedForGood(original Instance) bool {
	for _, i := range v.Instances {
		if i.ID == original.ID && i.Project == original.Project && i.CopyFor == "" {
			return i.Running || !i.ShouldRun
		}
	}
	return false
}
