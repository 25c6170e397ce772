package maas

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Selection is an image that MAAS is to have: like ubuntu/noble for amd64.
type Selection struct {
	OS      string   `json:"os"`
	Release string   `json:"release"`
	Arches  []string `json:"arches"`
}

func (s Selection) String() string {
	return s.OS + "/" + s.Release + "/" + strings.Join(s.Arches, "+")
}

var selection = regexp.MustCompile(`^([a-z0-9][a-z0-9.-]*)/([a-z0-9][a-z0-9.-]*)/([a-z0-9]+(?:\+[a-z0-9]+)*)$`)

// ParseSelection reads "ubuntu/noble/amd64"; several architectures are joined by +.
func ParseSelection(text string) (Selection, error) {
	m := selection.FindStringSubmatch(text)
	if m == nil {
		return Selection{}, fmt.Errorf("%q is no image: wanted os/release/architecture, like ubuntu/noble/amd64 or ubuntu/noble/amd64+arm64", text)
	}
	return Selection{OS: m[1], Release: m[2], Arches: strings.Split(m[3], "+")}, nil
}

// Select has MAAS know that it is to have these images, from its first source, and reports
// whether anything changed. Selections that it has besides stay. MAAS refuses (400) an image that it has
// not found in the source's stream yet; the others are selected all the same.
func (c *Client) Select(ctx context.Context, want []Selection) (changed bool, err error) {
	var sources []struct {
		ID int `json:"id"`
	}
	if err := c.do(ctx, http.MethodGet, "boot-sources/", nil, nil, &sources); err != nil {
		return false, err
	}
	if len(sources) == 0 {
		return false, errors.New("cannot select images: MAAS has no source of images: add one there (Images, Sources)")
	}
	path := fmt.Sprintf("boot-sources/%d/selections/", sources[0].ID)
	var has []struct {
		Selection
		ID int `json:"id"`
	}
	if err := c.do(ctx, http.MethodGet, path, nil, nil, &has); err != nil {
		return false, err
	}
	var refused error
	for _, s := range want {
		form := url.Values{"os": {s.OS}, "release": {s.Release}, "arches": s.Arches, "subarches": {"*"}, "labels": {"*"}}
		method, at, missing := http.MethodPost, path, true
		for _, h := range has {
			if h.OS != s.OS || h.Release != s.Release {
				continue
			}
			// What is there for other architectures is kept.
			arches := slices.Concat(h.Arches, s.Arches)
			slices.Sort(arches)
			arches = slices.Compact(arches)
			missing = len(arches) > len(h.Arches) && !slices.Contains(h.Arches, "*")
			method, at, form["arches"] = http.MethodPut, fmt.Sprintf("%s%d/", path, h.ID), arches
		}
		if !missing {
			continue
		}
		err := c.do(ctx, method, at, nil, form, nil)
		if err != nil {
			err = fmt.Errorf("cannot select image %s: %w", s, err)
		}
		switch {
		case err == nil:
			changed = true
		case !IsStatus(err, http.StatusBadRequest):
			return changed, err
		case refused == nil:
			refused = err
		}
	}
	return changed, refused
}

// Import has MAAS fetch the images that are selected. It returns at once; see Importing.
func (c *Client) Import(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "boot-resources/", op("import"), url.Values{}, new(string))
}

// Importing reports whether MAAS is fetching images.
func (c *Client) Importing(ctx context.Context) (bool, error) {
	var now bool
	return now, c.do(ctx, http.MethodGet, "boot-resources/", op("is_importing"), nil, &now)
}

// UploadedImages lists the images that were uploaded to MAAS, as name/architecture, sorted. MAAS cannot
// fetch them again.
func (c *Client) UploadedImages(ctx context.Context) ([]string, error) {
	var list []struct {
		Name         string `json:"name"`
		Architecture string `json:"architecture"` // like amd64/generic
	}
	if err := c.do(ctx, http.MethodGet, "boot-resources/", url.Values{"type": {"uploaded"}}, nil, &list); err != nil {
		return nil, err
	}
	var names []string
	for _, image := range list {
		arch, _, _ := strings.Cut(image.Architecture, "/")
		names = append(names, image.Name+"/"+arch)
	}
	slices.Sort(names)
	return names, nil
}
