package inventory

import (
	"context"
	"errors"
	"slices"
)

// MAAS 3.5 to 3.8 ignores parameter cache_device: it takes the smallest disk with tag ssd that the
// machine does not boot from (BcacheStorageLayout in src/maasserver/storage_layouts.py). So the
// tag is on the wanted disk alone while the layout is set. Afterwards the disks have the tags that
// they had: commissioning sets ssd by what a disk is, and constraints of Juju go by it.
const (
	ssdTag = "ssd"
	// These two mark what is to be undone, also by another run: of a disk that has lost ssd for
	// now, and of one that has it for now.
	lostTag, addedTag = "dcib-ssd-lost", "dcib-ssd-added"
)

// CacheTag is what becomes of tag ssd while a layout is set. Its zero value changes nothing.
type CacheTag struct {
	Disk string // the one that has it alone; "" when all stays as it is
	Add  []Disk // those that get it
	Take []Disk // those that lose it
}

// cacheTag returns what is to become of the tag so that MAAS takes the disk with that name.
func cacheTag(m Machine, wanted string) CacheTag {
	t := CacheTag{Disk: wanted}
	var at Disk
	rival := false
	for _, d := range m.Disks {
		switch tagged := slices.Contains(d.Tags, ssdTag); {
		case d.Virtual || d.ID == m.BootDisk:
		case d.Name == wanted:
			if at = d; !tagged {
				t.Add = append(t.Add, d)
			}
		case tagged:
			t.Take = append(t.Take, d)
		}
	}
	for _, d := range t.Take {
		rival = rival || d.Size <= at.Size // MAAS does not say which of two of one size it takes
	}
	if len(t.Add) == 0 && !rival {
		return CacheTag{}
	}
	return t
}

// leftTag returns what an earlier run has left to be undone.
func leftTag(m Machine) CacheTag {
	var t CacheTag
	for _, d := range m.Disks {
		if slices.Contains(d.Tags, addedTag) {
			t.Add = append(t.Add, d)
		}
		if slices.Contains(d.Tags, lostTag) {
			t.Take = append(t.Take, d)
		}
	}
	return t
}

// undone returns the disks as they are when t is undone.
func (t CacheTag) undone(disks []Disk) []Disk {
	disks = slices.Clone(disks)
	of := func(list []Disk, id int) bool {
		return slices.ContainsFunc(list, func(d Disk) bool { return d.ID == id })
	}
	for k := range disks {
		d := &disks[k]
		added, lost := of(t.Add, d.ID), of(t.Take, d.ID)
		if !added && !lost {
			continue
		}
		tags := slices.DeleteFunc(slices.Clone(d.Tags), func(tag string) bool {
			return tag == addedTag || tag == lostTag || tag == ssdTag
		})
		if lost {
			tags = append(tags, ssdTag)
		}
		d.Tags = tags
	}
	return disks
}

// move sets the tag on the wanted disk alone. Each mark is there before what it undoes.
func (t CacheTag) move(ctx context.Context, api API, id string) error {
	for _, d := range t.Take {
		if err := api.AddDiskTag(ctx, id, d.ID, lostTag); err != nil {
			return err
		}
		if err := api.RemoveDiskTag(ctx, id, d.ID, ssdTag); err != nil {
			return err
		}
	}
	for _, d := range t.Add {
		if err := api.AddDiskTag(ctx, id, d.ID, addedTag); err != nil {
			return err
		}
		if err := api.AddDiskTag(ctx, id, d.ID, ssdTag); err != nil {
			return err
		}
	}
	return nil
}

// undo sets the tags again that the disks had, each of them whatever becomes of the others.
func (t CacheTag) undo(ctx context.Context, api API, id string) error {
	var failures []error
	for _, d := range t.Take {
		err := api.AddDiskTag(ctx, id, d.ID, ssdTag)
		if err == nil {
			err = api.RemoveDiskTag(ctx, id, d.ID, lostTag)
		}
		failures = append(failures, err)
	}
	for _, d := range t.Add {
		err := api.RemoveDiskTag(ctx, id, d.ID, ssdTag)
		if err == nil {
			err = api.RemoveDiskTag(ctx, id, d.ID, addedTag)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// RestoreDiskTags ends what a run that was interrupted has begun with tag ssd.
type RestoreDiskTags struct {
	Target
	Tag CacheTag
}

// Name implements Step.
func (s RestoreDiskTags) Name() string {
	var names []string
	for _, d := range slices.Concat(s.Tag.Take, s.Tag.Add) {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return "restore the tags of " + join(slices.Compact(names))
}

// Apply implements Step.
func (s RestoreDiskTags) Apply(ctx context.Context, api API) error {
	if err := s.ready(ctx, api); err != nil {
		return err
	}
	return s.Tag.undo(ctx, api, s.ID)
}
