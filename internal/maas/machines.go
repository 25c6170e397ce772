package maas

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/canonical/gomaasclient/client"
	"github.com/canonical/gomaasclient/entity"

	"github.com/dcib/dcib/internal/maas/inventory"
)

var _ inventory.API = (*Client)(nil)

// Fleet returns the machines, and what a declaration of them can name.
func (c *Client) Fleet(ctx context.Context) (inventory.State, error) {
	var s inventory.State
	var err error
	if s.Machines, err = c.Machines(ctx); err != nil {
		return s, err
	}
	err = c.with(ctx, "list MAAS's subnets and tags", func(api *client.Client) error {
		subnets, err := api.Subnets.Get()
		if err != nil {
			return err
		}
		for _, n := range subnets {
			s.Subnets = append(s.Subnets, inventory.Subnet{ID: n.ID, Name: n.Name, CIDR: n.CIDR, VLAN: n.VLAN.ID, Fabric: n.VLAN.Fabric})
		}
		tags, err := api.Tags.Get()
		for _, t := range tags {
			s.Tags = append(s.Tags, inventory.Tag{Name: t.Name, Comment: t.Comment, Definition: t.Definition, KernelOptions: t.KernelOpts})
		}
		return err
	})
	return s, err
}

// Machines lists the machines, by host name.
func (c *Client) Machines(ctx context.Context) ([]inventory.Machine, error) {
	var all []inventory.Machine
	err := c.within(ctx, c.listLimit, "list MAAS's machines", func(api *client.Client) error {
		machines, err := api.Machines.Get(&entity.MachinesParams{})
		if err != nil {
			return err
		}
		for i := range machines {
			one := machine(&machines[i])
			if len(machines[i].BCaches) > 0 {
				// A machine names its bcaches, and says nothing of them.
				caches, err := api.BCaches.Get(one.ID)
				if err != nil {
					return err
				}
				if len(caches) > 0 {
					one.CacheMode = caches[0].CacheMode
				}
			}
			all = append(all, one)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b inventory.Machine) int { return strings.Compare(a.Hostname+" "+a.ID, b.Hostname+" "+b.ID) })
	return all, err
}

// machine takes of a machine what a fleet looks at.
func machine(m *entity.Machine) inventory.Machine {
	one := inventory.Machine{
		ID: m.SystemID, Hostname: m.Hostname, FQDN: m.FQDN, Status: m.StatusName, Owner: m.Owner, Pool: m.Pool.Name, Zone: m.Zone.Name,
		Architecture: m.Architecture, OS: m.OSystem, Series: m.DistroSeries, CPUs: m.CPUCount, MemoryMiB: m.Memory, StorageMB: m.Storage,
		Tags: m.TagNames, Interfaces: interfaces(m.InterfaceSet), Boot: m.BootInterface.ID, BootDisk: m.BootDisk.ID,
	}
	for _, ip := range m.IPAddresses {
		one.Addresses = append(one.Addresses, ip.String())
	}
	for _, d := range m.BlockDeviceSet {
		disk := inventory.Disk{
			ID: d.ID, Name: d.Name, Virtual: d.Type == "virtual", Size: d.Size, Filesystem: d.Filesystem.FSType, Mount: d.Filesystem.MountPoint,
			Partitioned: d.PartitionTableType != "", Tags: d.Tags,
		}
		for _, p := range d.Partitions {
			disk.Partitions = append(disk.Partitions, inventory.Partition{Size: p.Size, Filesystem: p.FileSystem.FSType, Mount: p.FileSystem.MountPoint})
		}
		one.Disks = append(one.Disks, disk)
	}
	return one
}

func interfaces(all []entity.NetworkInterface) []inventory.Interface {
	var interfaces []inventory.Interface
	for _, i := range all {
		one := inventory.Interface{ID: i.ID, Name: i.Name, Type: i.Type, VLAN: i.VLAN.ID, Fabric: i.VLAN.Fabric, Parents: i.Parents, Children: i.Children, Params: map[string]string{}}
		// It is "" where there are none.
		if params, ok := i.Params.(map[string]any); ok {
			for key, value := range params {
				one.Params[key] = fmt.Sprint(value)
			}
		}
		for _, l := range i.Links {
			one.Links = append(one.Links, inventory.Link{ID: l.ID, Mode: l.Mode, Subnet: l.Subnet.ID, CIDR: l.Subnet.CIDR, Address: l.IPAddress})
		}
		interfaces = append(interfaces, one)
	}
	return interfaces
}

// Status implements fleet.API.
func (c *Client) Status(ctx context.Context, id string) (string, error) {
	status := ""
	err := c.with(ctx, "look at machine "+id+" in MAAS", func(api *client.Client) error {
		m, err := api.Machine.Get(id)
		status = m.StatusName
		return err
	})
	return status, err
}

// Interfaces implements fleet.API.
func (c *Client) Interfaces(ctx context.Context, id string) ([]inventory.Interface, error) {
	var all []inventory.Interface
	err := c.with(ctx, "list the interfaces of machine "+id+" in MAAS", func(api *client.Client) error {
		found, err := api.NetworkInterfaces.Get(id)
		all = interfaces(found)
		return err
	})
	return all, err
}

// number reads a parameter that the declaration has checked.
func number(params map[string]string, key string) int {
	n, _ := strconv.Atoi(params[key])
	return n
}

// CreateBond implements fleet.API.
func (c *Client) CreateBond(ctx context.Context, id, name string, parents []int, params map[string]string) error {
	return c.with(ctx, "make bond "+name, func(api *client.Client) error {
		_, err := api.NetworkInterfaces.CreateBond(id, &entity.NetworkInterfaceBondParams{
			Name: name, Parents: parents, BondMode: params["bond_mode"], BondLACPRate: params["bond_lacp_rate"],
			BondXMitHashPolicy: params["bond_xmit_hash_policy"], BondMiimon: number(params, "bond_miimon"), MTU: number(params, "mtu"),
		})
		return err
	})
}

// CreateBridge implements fleet.API.
func (c *Client) CreateBridge(ctx context.Context, id, name string, parent int, params map[string]string) error {
	return c.with(ctx, "make bridge "+name, func(api *client.Client) error {
		_, err := api.NetworkInterfaces.CreateBridge(id, &entity.NetworkInterfaceBridgeParams{
			Name: name, Parents: []int{parent}, BridgeType: params["bridge_type"], BridgeSTP: params["bridge_stp"] == "true", MTU: number(params, "mtu"),
		})
		return err
	})
}

// ChangeInterface implements fleet.API. It is by hand: gomaasclient leaves out what is false
// or 0, so that it could not turn anything off.
func (c *Client) ChangeInterface(ctx context.Context, id string, of int, params map[string]string) error {
	return c.do(ctx, http.MethodPut, fmt.Sprintf("nodes/%s/interfaces/%d/", url.PathEscape(id), of), nil, form(params), nil)
}

func form(fields map[string]string) url.Values {
	form := url.Values{}
	for key, value := range fields {
		form.Set(key, value)
	}
	return form
}

// Link implements fleet.API.
func (c *Client) Link(ctx context.Context, id string, of int, link inventory.Link) error {
	return c.with(ctx, "link an interface to "+link.CIDR, func(api *client.Client) error {
		_, err := api.NetworkInterface.LinkSubnet(id, of, &entity.NetworkInterfaceLinkParams{
			Mode: strings.ToUpper(link.Mode), Subnet: link.Subnet, IPAddress: link.Address,
		})
		return err
	})
}

// Unlink implements fleet.API.
func (c *Client) Unlink(ctx context.Context, id string, of, link int) error {
	return c.with(ctx, "take a link away", func(api *client.Client) error {
		_, err := api.NetworkInterface.UnlinkSubnet(id, of, link)
		return err
	})
}

// SetStorageLayout implements fleet.API. It is by hand: gomaasclient does not have it.
func (c *Client) SetStorageLayout(ctx context.Context, id, layout string, params map[string]string) error {
	fields := form(params)
	fields.Set("storage_layout", layout)
	return c.do(ctx, http.MethodPost, "machines/"+url.PathEscape(id)+"/", op("set_storage_layout"), fields, nil)
}

// AddDiskTag implements fleet.API.
func (c *Client) AddDiskTag(ctx context.Context, id string, disk int, tag string) error {
	return c.with(ctx, "add disk tag "+tag, func(api *client.Client) error {
		_, err := api.BlockDevice.AddTag(id, disk, tag)
		return err
	})
}

// RemoveDiskTag implements fleet.API.
func (c *Client) RemoveDiskTag(ctx context.Context, id string, disk int, tag string) error {
	return c.with(ctx, "take tag "+tag+" from a disk", func(api *client.Client) error {
		_, err := api.BlockDevice.RemoveTag(id, disk, tag)
		return err
	})
}

// Commission implements fleet.API.
func (c *Client) Commission(ctx context.Context, id string, o inventory.CommissionOptions) error {
	return c.with(ctx, "commission machine "+id, func(api *client.Client) error {
		_, err := api.Machine.Commission(id, &entity.MachineCommissionParams{EnableSSH: o.SSH})
		return err
	})
}

// Deploy implements fleet.API.
func (c *Client) Deploy(ctx context.Context, id string, o inventory.DeployOptions) error {
	return c.with(ctx, "deploy machine "+id, func(api *client.Client) error {
		_, err := api.Machine.Deploy(id, &entity.MachineDeployParams{
			DistroSeries: o.Series, HWEKernel: o.Kernel, Comment: o.Comment, UserData: base64.StdEncoding.EncodeToString(o.UserData),
		})
		return err
	})
}

// User returns the name of the user whose key this is.
func (c *Client) User(ctx context.Context) (string, error) {
	name := ""
	err := c.with(ctx, "ask MAAS whose key this is", func(api *client.Client) error {
		user, err := api.Users.Whoami()
		name = user.UserName
		return err
	})
	return name, err
}

// tagName is what MAAS takes for the name of a tag (src/maasserver/models/tag.py).
var tagName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// CreateTag makes a tag; one that is there stays as it is.
func (c *Client) CreateTag(ctx context.Context, tag inventory.Tag) error {
	if !tagName.MatchString(tag.Name) {
		return fmt.Errorf("cannot make tag %q in MAAS: wanted letters, digits, _ and -", tag.Name)
	}
	return c.with(ctx, "make tag "+tag.Name, func(api *client.Client) error {
		all, err := api.Tags.Get()
		if err != nil || slices.ContainsFunc(all, func(t entity.Tag) bool { return t.Name == tag.Name }) {
			return err
		}
		_, err = api.Tags.Create(&entity.TagParams{Name: tag.Name, Comment: tag.Comment, Definition: tag.Definition, KernelOpts: tag.KernelOptions})
		return err
	})
}

// ChangeTag implements fleet.API. It is by hand: gomaasclient cannot clear a field.
func (c *Client) ChangeTag(ctx context.Context, name string, fields map[string]string) error {
	if !tagName.MatchString(name) {
		return fmt.Errorf("cannot change tag %q in MAAS: wanted letters, digits, _ and -", name)
	}
	return c.do(ctx, http.MethodPut, "tags/"+name+"/", nil, form(fields), nil)
}

// Tag adds a tag to the machines (or controllers) add, by system id, and takes it from
// remove. An id that MAAS does not know is an error: MAAS itself would say nothing, and
// gomaasclient does not look at what it counts.
func (c *Client) Tag(ctx context.Context, name string, add, remove []string) error {
	if !tagName.MatchString(name) {
		return fmt.Errorf("cannot tag in MAAS: %q is no tag: wanted letters, digits, _ and -", name)
	}
	var counts struct {
		Added   int `json:"added"`
		Removed int `json:"removed"`
	}
	form := url.Values{"add": add, "remove": remove}
	if err := c.do(ctx, http.MethodPost, "tags/"+name+"/", op("update_nodes"), form, &counts); err != nil {
		return err
	}
	// They count the nodes that MAAS knows, changed or not.
	if counts.Added < len(add) || counts.Removed < len(remove) {
		return fmt.Errorf("cannot tag all with %s in MAAS: it knows %d of %d to be tagged and %d of %d to lose it: look for their ids in its list of machines", name, counts.Added, len(add), counts.Removed, len(remove))
	}
	return nil
}
