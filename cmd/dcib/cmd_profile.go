package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
)

// newProfileCmd is dcib profile: what becomes of an LXD profile, before an application asks
// for it.
func newProfileCmd() *cobra.Command {
	var (
		policyFile, version, format string
		vm                          bool
		requester                   policy.Requester
	)
	cmd := &cobra.Command{
		Use:   "profile FILE",
		Short: "Show which keys and devices of an LXD profile would be refused",
		Long: `Check an LXD profile, as the option profile of the charm lxd-profile-sub takes it, and show
what becomes of each key and device: live (in force at once), restart (in force after a
restart of the container), ignored (without meaning to a virtual machine) or refused, with
the reason. The rules are those of lxd-profile-sub and lxd-cluster; nothing is asked of any
machine. FILE may be -, for standard input.

The exit status is 0 if nothing is refused, 1 if something is, and 2 for a wrong usage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("format", format, "text", "json"); err != nil {
				return err
			}
			on := policy.Target{VM: vm, Has: func(string) bool { return true }}
			if version != "" {
				server, err := profile.ParseServer(version)
				if err != nil {
					return usageError{err}
				}
				on.Has, on.Strict = server.Has, !server.TakesContainerKeys()
			}
			var allowed []byte
			if policyFile != "" {
				var err error
				if allowed, err = readFile(cmd.InOrStdin(), policyFile); err != nil {
					return usagef("cannot read the policy: %w", err)
				}
			}
			rules, err := policy.Parse(string(allowed))
			if err != nil {
				return usageError{err}
			}
			text, err := readFile(cmd.InOrStdin(), args[0])
			if err != nil {
				return usagef("cannot read the profile: %w", err)
			}
			verdicts := judge(text, rules.For(requester), on)
			shown := shownProfile{Items: []shownItem{}}
			for _, v := range verdicts {
				shown.add(v)
			}
			if format == "json" {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				out.SetEscapeHTML(false)
				err = out.Encode(shown)
			} else {
				_, err = io.WriteString(cmd.OutOrStdout(), shown.text())
			}
			if err != nil {
				return fmt.Errorf("cannot print: %w", err)
			}
			if shown.Refused > 0 {
				return errSilent
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&policyFile, "policy", "", "file with lxd-cluster's option profile-policy (default: the option's default)")
	cmd.Flags().StringVar(&requester.Endpoint, "endpoint", policy.Endpoint, "the endpoint of lxd-cluster that the application is related to, for a policy with requesters")
	cmd.Flags().StringVar(&requester.Model, "model", "", "the UUID of the application's model, likewise")
	cmd.Flags().StringVar(&requester.Relation, "relation", "", "the number of the relation, likewise")
	cmd.Flags().StringVar(&version, "lxd", "", "version of LXD, like 5.0.2 (default: one that has all keys)")
	cmd.Flags().BoolVar(&vm, "vm", false, "the instances are running virtual machines")
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

// judge returns the verdicts on the text of a profile. What is wrong with the text itself is
// refused as a whole, because nothing of it would be in force.
func judge(text []byte, rules policy.Policy, on policy.Target) []policy.Verdict {
	p, err := profile.Parse(text)
	if err == nil {
		return policy.Evaluate(p, rules, on)
	}
	v := policy.Verdict{Effect: profile.Refused}
	var problems document.Problems
	if errors.As(err, &problems) {
		for _, problem := range problems {
			v.Reasons = append(v.Reasons, problem.String())
		}
	} else {
		v.Reasons = []string{err.Error()}
	}
	return []policy.Verdict{v}
}

// shownProfile is what dcib profile prints, as JSON shows it.
type shownProfile struct {
	Live    int         `json:"live"`
	Restart int         `json:"restart"`
	Ignored int         `json:"ignored"`
	Refused int         `json:"refused"`
	Items   []shownItem `json:"items"`
}

// shownItem is one key or device; without a path it is the text as a whole.
type shownItem struct {
	Path    string   `json:"path"`
	Verdict string   `json:"verdict"`
	Reasons []string `json:"reasons,omitempty"`
}

func (s *shownProfile) add(v policy.Verdict) {
	item := shownItem{Path: v.Path, Verdict: v.Effect.String(), Reasons: v.Reasons}
	switch {
	case v.Ignored:
		item.Verdict = "ignored"
		s.Ignored++
	case v.Effect == profile.Refused:
		s.Refused++
	case v.Effect == profile.Restart:
		s.Restart++
	default:
		s.Live++
	}
	s.Items = append(s.Items, item)
}

// The columns of the text: verdicts are at most seven letters long.
const (
	profileIndent = 9
	profileWidth  = 80
)

func (s *shownProfile) text() string {
	var b strings.Builder
	for _, item := range s.Items {
		name := item.Path
		if name == "" {
			name = "the profile"
		}
		fmt.Fprintf(&b, "%-*s%s\n", profileIndent, item.Verdict, name)
		for _, reason := range item.Reasons {
			// The path stands on the line above.
			reason = strings.TrimLeft(strings.TrimPrefix(reason, item.Path), ":. ")
			for line := range wrapped(reason, profileWidth-profileIndent-2) {
				fmt.Fprintf(&b, "%*s%s\n", profileIndent+2, "", line)
			}
		}
	}
	if len(s.Items) == 0 {
		b.WriteString("the profile is empty\n")
		return b.String()
	}
	counts := []string{}
	for _, c := range []struct {
		n    int
		says string
	}{{s.Live, "in force at once"}, {s.Restart, "in force after a restart"}, {s.Ignored, "ignored"}, {s.Refused, "refused"}} {
		if c.n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", c.n, c.says))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", strings.Join(counts, ", "))
	if s.Refused > 0 {
		b.WriteString("the units would be blocked, and an earlier profile would stay in force\n")
	}
	return b.String()
}

// wrapped yields text in lines of at most so many characters, broken between words. A
// longer word has a line to itself.
func wrapped(text string, most int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		line, length := "", 0
		for word := range strings.FieldsSeq(text) {
			n := len([]rune(word))
			if length > 0 && length+1+n > most {
				if !yield(line) {
					return
				}
				line, length = "", 0
			}
			if length > 0 {
				line, length = line+" ", length+1
			}
			line, length = line+word, length+n
		}
		if length > 0 {
			yield(line)
		}
	}
}
