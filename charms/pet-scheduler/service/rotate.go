package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
)

// certifying is how long the daemon may take to say which certificates it goes by.
const certifying = 5 * time.Second

// Rotating reports whether the store's certificate is being rotated. That takes three steps, each
// of which the leader makes when all units in the store have made the one before:
//
//  1. all trust the new certificate beside the old one, which they show;
//  2. all show the new one, and trust the old one;
//  3. none trusts the old one any more.
func (f Facts) Rotating() bool { return f.Next.Certificate != "" || f.Previous != "" }

// missing lists the units that have not come as far as the rotation's present step.
func (f Facts) missing() []string {
	var units []string
	for unit, told := range f.Told {
		list := strings.Fields(told)
		done := len(list) > 0 && list[0] == dqlite.Fingerprint(f.Certificate.Certificate)
		if f.Next.Certificate != "" {
			done = done && slices.Contains(list, dqlite.Fingerprint(f.Next.Certificate))
		}
		if !done {
			units = append(units, unit)
		}
	}
	slices.Sort(units)
	return units
}

// rotate plans what a unit does for a rotation.
func (f Facts) rotate() []charm.Step[Env] {
	if !f.Rotating() {
		return nil
	}
	if f.InForce != "" && f.InForce != f.Published[keyCertificates] {
		return []charm.Step[Env]{Publish{f.Relation, keyCertificates, f.InForce}}
	}
	if !f.Leader || len(f.Told) == 0 || len(f.missing()) > 0 {
		return nil
	}
	if f.Next.Certificate != "" {
		return []charm.Step[Env]{SetCertificates{"show the store's new certificate", f.Secret, map[string]string{
			fieldCertificate: f.Next.Certificate, fieldKey: f.Next.Key, fieldPrevious: f.Certificate.Certificate}}}
	}
	return []charm.Step[Env]{SetCertificates{"trust the store's old certificate no more", f.Secret, map[string]string{
		fieldCertificate: f.Certificate.Certificate, fieldKey: f.Certificate.Key}}}
}

// SetCertificates makes a step of a rotation for all units.
type SetCertificates struct {
	What, Secret string
	Content      map[string]string
}

// Name implements charm.Step.
func (s SetCertificates) Name() string { return s.What }

// Apply implements charm.Step.
func (s SetCertificates) Apply(ctx context.Context, w Env) error {
	return w.Tools.SetSecret(ctx, s.Secret, s.Content)
}

// RotateAction is the name of the action that begins a rotation.
const RotateAction = "rotate-store-certificate"

// Rotate is the action rotate-store-certificate.
func Rotate(ctx context.Context, f Facts, w Env, _ charm.Call) (map[string]string, error) {
	switch {
	case !f.Leader:
		return nil, errors.New("cannot rotate the store's certificate: this unit is not the leader: run the action on pet-scheduler/leader")
	case f.Secret == "" || f.Certificate.Key == "":
		return nil, errors.New("cannot rotate the store's certificate: there is none yet: wait until the units are active")
	case f.Rotating():
		return nil, fmt.Errorf("cannot rotate the store's certificate: a rotation is under way, and waits for %s: start what is down, remove what is gone for good",
			orHooks(f.missing()))
	}
	next, err := dqlite.NewCertificate()
	if err != nil {
		return nil, err
	}
	content := map[string]string{fieldCertificate: f.Certificate.Certificate, fieldKey: f.Certificate.Key,
		fieldNext: next.Certificate, fieldNextKey: next.Key}
	if err := w.Tools.SetSecret(ctx, f.Secret, content); err != nil {
		return nil, err
	}
	return map[string]string{
		"old": dqlite.Fingerprint(f.Certificate.Certificate), "new": dqlite.Fingerprint(next.Certificate),
		"units": strings.Join(slices.Sorted(maps.Keys(f.Told)), " "),
		"next":  "the units change over in their next hooks; /1/status of a daemon shows the certificates in force",
	}, nil
}

func orHooks(units []string) string {
	if len(units) == 0 {
		return "the leader's next hook"
	}
	return strings.Join(units, ", ")
}
