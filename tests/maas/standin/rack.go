package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// rackd is the rack's daemon. It tries for as long as it takes.
func rackd(ctx context.Context) error {
	// As MAAS does: what is served is what the region says.
	if err := os.Remove("/var/lib/maas/dhcpd.conf"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for said := ""; ; {
		err := call(ctx, false)
		if err == nil {
			if err := configureRackFront(); err != nil {
				return err
			}
			supervise("maas-http", "maas-agent")
		}
		if errors.Is(err, errDeleted) {
			// A rack that is deleted while it is connected forgets MAAS, and restarts.
			return errors.Join(err, os.Remove(secretFile))
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			fmt.Println(said)
		}
		select {
		case <-ctx.Done():
			// The regions see the connection end.
			_ = call(context.WithoutCancel(ctx), true)
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

// call calls the regions until one answers; goes states that it is the last time.
func call(ctx context.Context, goes bool) error {
	var c struct {
		URLs []string `yaml:"maas_url"`
	}
	if err := readConf(rackConf, &c); err != nil {
		return err
	}
	shared := text(secretFile)
	if shared == "" {
		return errors.New("waiting for MAAS's secret")
	}
	services := states(map[string]string{"agent": "maas-agent", "http": "maas-http"})
	body, err := json.Marshal(rackCall{text(idFile), hostname(), macs(), text(clusterCert), services, goes})
	if err != nil {
		return err
	}
	for _, url := range c.URLs {
		var answer rackAnswer
		answer, err = ask(ctx, strings.TrimSuffix(url, "/")+"/rpc/", proof(shared, body), body)
		if err == nil && !goes {
			err = keep(answer)
		}
		if err == nil {
			return nil
		}
	}
	return err
}

func ask(ctx context.Context, url, proof string, body []byte) (answer rackAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Proof", proof)
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return answer, err
	case response.StatusCode == http.StatusGone:
		return answer, errDeleted
	case response.StatusCode != http.StatusOK:
		return answer, fmt.Errorf("%s answers %d: %s", url, response.StatusCode, bytes.TrimSpace(said))
	}
	return answer, json.Unmarshal(said, &answer)
}

// configureRackFront has maas-http serve the rack's part.
func configureRackFront() error {
	if text(rackFront) != "" {
		return nil
	}
	if err := errors.Join(write(frontConf, "include *.nginx.conf;\n"), write(rackFront, "images")); err != nil {
		return err
	}
	reload("maas-http")
	return nil
}

// keep writes down what a region says. Certificates that are there stay.
func keep(answer rackAnswer) error {
	if text(clusterCert) == "" {
		if err := write(clusterCert, answer.Certificate); err != nil {
			return err
		}
	}
	// On a machine that is a region, too, there is an identity before there is an agent.
	if agent := "system_id: " + answer.SystemID; text(agentConf) != agent {
		if err := write(agentConf, agent+"\n"); err != nil {
			return err
		}
	}
	if text(idFile) == answer.SystemID {
		return nil
	}
	if err := write(uuidFile, answer.UUID); err != nil {
		return err
	}
	return write(idFile, answer.SystemID)
}

// maasRack is the command maas-rack, as far as the package's own scripts use it.
func maasRack(args []string) error {
	if len(args) == 0 || args[0] != "config" {
		return fmt.Errorf("nothing stands in for maas-rack %s", strings.Join(args, " "))
	}
	flags := flag.NewFlagSet("config", flag.ContinueOnError)
	region := flags.String("region-url", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	has := map[string]any{}
	if err := readConf(rackConf, &has); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if *region != "" {
		has["maas_url"] = []string{*region}
	}
	content, err := yaml.Marshal(has)
	if err != nil {
		return err
	}
	return write(rackConf, string(content))
}
