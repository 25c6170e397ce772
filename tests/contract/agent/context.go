package main

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/juju/juju/core/network"
	"github.com/juju/juju/core/secrets"
	"github.com/juju/juju/rpc/params"
)

// What both versions' Context have in common, beyond the world.

func fakeID(r *Relation) string { return fmt.Sprintf("%s:%d", r.Endpoint, r.ID) }

func networkInfo(interfaces []Interface) params.NetworkInfoResult {
	var result params.NetworkInfoResult
	for _, i := range interfaces {
		info := params.NetworkInfo{InterfaceName: i.Name}
		for _, address := range i.Addresses {
			info.Addresses = append(info.Addresses, params.InterfaceAddress{Address: address})
			result.IngressAddresses = append(result.IngressAddresses, address)
		}
		result.Info = append(result.Info, info)
	}
	return result
}

func portRanges(ports []string) network.GroupedPortRanges {
	ranges := network.GroupedPortRanges{}
	for _, p := range ports {
		ranges[""] = append(ranges[""], network.MustParsePortRange(p))
	}
	return ranges
}

// attachment is a storage instance that is attached, as the controller answers storage-get.
func (h *hook) attachment(id string) (*Attachment, error) {
	a := h.World.Storage[id]
	if a == nil || a.Location == "" {
		kind := ""
		if a != nil {
			kind = a.Kind
		}
		return nil, errNotAttached(kind, id, h.Unit)
	}
	return a, nil
}

func secretValue(content map[string]string) secrets.SecretValue {
	data := secrets.SecretData{}
	for key, value := range content {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	return secrets.NewSecretValue(data)
}

func access(s *Secret) []secrets.AccessInfo {
	var all []secrets.AccessInfo
	for _, app := range s.Granted {
		all = append(all, secrets.AccessInfo{Target: "application-" + app, Scope: "relation-x", Role: secrets.RoleView})
	}
	return all
}

func (h *hook) createSecret(owner string, label *string, value secrets.SecretValue) (*secrets.URI, error) {
	content, err := value.Values()
	if err != nil {
		return nil, err
	}
	uri := secrets.NewURI()
	e := Effect{What: "create-secret", Of: uri.ID, Text: owner, Bag: content}
	if label != nil {
		e.Text += " " + *label
	}
	h.did(e)
	return uri, nil
}

// updateSecret: HookContext.UpdateSecret asks who leads only for a secret that it knows; the
// controller refuses the others when the hook ends.
func (h *hook) updateSecret(uri *secrets.URI, value secrets.SecretValue) error {
	if s := h.Secrets[uri.ID]; s != nil && s.Owner == h.app() {
		if err := h.mustLead(); err != nil {
			return err
		}
	}
	content, err := value.Values()
	if err != nil {
		return err
	}
	if s := h.Secrets[uri.ID]; s != nil {
		s.Content = content // HookContext.getPendingSecretValue
	}
	h.did(Effect{What: "update-secret", Of: uri.ID, Bag: content})
	return nil
}

func (h *hook) grantSecret(uri *secrets.URI, relation, app string, unit *string) error {
	s := h.Secrets[uri.ID]
	if s == nil || s.Owner != h.app() {
		return errNoOwnSecret(uri.ID)
	}
	if err := h.mustLead(); err != nil {
		return err
	}
	e := Effect{What: "grant-secret", Of: uri.ID, Text: app + " over " + relation}
	if unit != nil {
		e.Text += " to " + *unit
	}
	h.did(e)
	return nil
}

func (h *hook) actionResult(keys []string, value any) error {
	if err := h.inAction(); err != nil {
		return err
	}
	h.did(Effect{What: "action-result", Of: strings.Join(keys, "."), Text: fmt.Sprint(value)})
	return nil
}

func (h *hook) actionMessage(message string) error {
	if err := h.inAction(); err != nil {
		return err
	}
	h.did(Effect{What: "action-message", Text: message})
	return nil
}

func (h *hook) actionFailed() error {
	if err := h.inAction(); err != nil {
		return err
	}
	h.did(Effect{What: "action-failed"})
	return nil
}

func (h *hook) actionLog(message string) error {
	if err := h.inAction(); err != nil {
		return err
	}
	h.did(Effect{What: "action-log", Text: message})
	return nil
}
