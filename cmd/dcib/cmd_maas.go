package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
)

// Where MAAS and the key to it may be said instead of by a flag.
const (
	envMAASURL = "DCIB_MAAS_URL"
	envMAASKey = "DCIB_MAAS_API_KEY"
)

// newMaasCmd is dcib maas: the machines of a MAAS.
func newMaasCmd() *cobra.Command {
	var m maasAccess
	cmd := &cobra.Command{
		Use:   "maas",
		Short: "The machines of a MAAS",
		Long: `List the machines of a MAAS, bring them to what a declaration says, commission and deploy
them.

The address is given by --url or ` + envMAASURL + `, the API key by --api-key-file (- is the
standard input) or ` + envMAASKey + `. It is never an argument, which everyone on the machine
could read. With the charm:

  export ` + envMAASURL + `=http://10.0.0.1:5240/MAAS
  juju run maas-region/leader get-api-key`,
	}
	cmd.PersistentFlags().StringVar(&m.url, "url", "", "MAAS's address, like http://maas.example:5240/MAAS")
	cmd.PersistentFlags().StringVar(&m.keyFile, "api-key-file", "", "a file with the API key; - for the standard input")
	cmd.PersistentFlags().StringVar(&m.format, "format", "text", "text or json")
	cmd.AddCommand(newMaasMachinesCmd(&m), newMaasApplyCmd(&m), newMaasCheckCmd(&m), newMaasCommissionCmd(&m), newMaasDeployCmd(&m))
	return cmd
}

// maasAccess is how a verb gets at MAAS.
type maasAccess struct{ url, keyFile, format string }

// open returns a client.
func (m *maasAccess) open(cmd *cobra.Command) (*maas.Client, error) {
	if err := oneOf("format", m.format, "text", "json"); err != nil {
		return nil, err
	}
	if m.url == "" {
		m.url = os.Getenv(envMAASURL)
	}
	key := os.Getenv(envMAASKey)
	if m.keyFile != "" {
		text, err := readFile(cmd.InOrStdin(), m.keyFile)
		if err != nil {
			return nil, usagef("cannot read MAAS's API key: %w", err)
		}
		key = string(text)
	}
	if key = strings.TrimSpace(key); key == "" {
		return nil, usagef("cannot get into MAAS: no API key: pass one in --api-key-file or %s", envMAASKey)
	}
	if m.url == "" {
		return nil, usagef("cannot reach MAAS: no address: pass --url or %s, like http://maas.example:5240/MAAS", envMAASURL)
	}
	endByContext() // after the last reading of an input
	return maas.New(m.url, key)
}

// print writes JSON, if that is wanted.
func (m *maasAccess) print(cmd *cobra.Command, value any) error {
	if m.format != "json" {
		return nil
	}
	out := json.NewEncoder(cmd.OutOrStdout())
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if err := out.Encode(value); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

// say writes a line of text, if that is wanted.
func (m *maasAccess) say(cmd *cobra.Command, mark, text string) {
	if m.format == "text" {
		fmt.Fprint(cmd.OutOrStdout(), inventory.Item(mark, text))
	}
}

// maasAct is what commissioning and deploying have in common.
type maasAct struct {
	dryRun   bool
	wait     time.Duration
	decide   func(machines []inventory.Machine, user string) []inventory.Decision
	do       func(ctx context.Context, c *maas.Client, id string) error
	becomes  string   // the status at the end
	onTheWay []string // statuses before it
}

// maasActed is one machine, as programs read it.
type maasActed struct {
	Machine string            `json:"machine"`
	ID      string            `json:"id"`
	Verdict inventory.Verdict `json:"verdict"`
	Why     string            `json:"why"`
	Started bool              `json:"started"`
	Error   string            `json:"error"`
}

func (a maasAct) run(cmd *cobra.Command, m *maasAccess, names []string) error {
	c, err := m.open(cmd)
	if err != nil {
		return err
	}
	machines, err := c.Machines(cmd.Context())
	if err != nil {
		return err
	}
	if machines, err = inventory.Select(machines, names); err != nil {
		return err
	}
	user, err := c.User(cmd.Context())
	if err != nil {
		return err
	}
	decisions := a.decide(machines, user)
	acted := []maasActed{}
	at := map[string]int{}
	for i, d := range decisions {
		acted = append(acted, maasActed{Machine: d.Machine.Hostname, ID: d.Machine.ID, Verdict: d.Verdict, Why: d.Why})
		at[d.Machine.ID] = i
		if d.Verdict != inventory.Okay || a.dryRun {
			m.say(cmd, fmt.Sprintf("%-7s", d.Verdict), d.Machine.Hostname+" "+d.Why)
		}
	}
	if a.dryRun {
		return m.print(cmd, acted)
	}
	err = inventory.Act(cmd.Context(), decisions, func(ctx context.Context, id string) error { return a.do(ctx, c, id) }, func(d inventory.Decision, err error) {
		one := &acted[at[d.Machine.ID]]
		if one.Started = err == nil; err != nil {
			one.Error = err.Error()
			m.say(cmd, "failed ", d.Machine.Hostname+": "+err.Error())
			return
		}
		m.say(cmd, "started", d.Machine.Hostname)
	})
	if err == nil && a.wait > 0 {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), a.wait, fmt.Errorf("%s have passed (--wait)", a.wait))
		defer cancel()
		// Those that were on their way before are waited for, too.
		var on []inventory.Machine
		for _, d := range decisions {
			if d.Machine.Status != a.becomes || d.Verdict == inventory.Okay {
				on = append(on, d.Machine)
			}
		}
		if err = inventory.Await(ctx, c.Status, on, a.becomes, a.onTheWay, maasEvery); err == nil {
			m.say(cmd, "done   ", fmt.Sprintf("%d machine(s) %s", len(decisions), a.becomes))
		}
	}
	return errors.Join(m.print(cmd, acted), err)
}

// maasEvery is how often MAAS is asked while a machine is waited for.
const maasEvery = 2 * time.Second
