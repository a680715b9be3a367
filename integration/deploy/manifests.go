package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// object is what is looked at of an object of Kubernetes. That it is one is shown elsewhere.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Image string   `json:"image"`
					Args  []string `json:"args"`
					Env   []struct {
						Name  string `json:"name"`
						Value string `json:"value"`
					} `json:"env"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

// pod is what a container of a manifest is started with.
type pod struct {
	args   []string
	env    []string // NAME=VALUE
	config string   // of its ConfigMap
}

// configPath is where the manifests mount the settings.
const configPath = "/etc/waybill/waybill.yaml"

// manifests reads the manifests and lets the program look at what they tell it.
func (s *scenario) manifests(ctx context.Context) error {
	files, err := filepath.Glob("deploy/kubernetes/*.yaml")
	if err != nil {
		return err
	}
	s.pods = map[string]pod{}
	for _, file := range files {
		if err := s.readManifest(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	for name, p := range s.pods {
		if err := s.understood(ctx, p); err != nil {
			s.amiss("%s: %v", name, err)
		}
	}
	fmt.Printf("  the program takes the arguments, settings and environment of %d containers in %d manifests\n", len(s.pods), len(files))
	if len(s.pods) == 0 {
		return errors.New("deploy/kubernetes has no containers")
	}
	return nil
}

func (s *scenario) readManifest(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config := ""
	for document := range bytes.SplitSeq(raw, []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(document, &o); err != nil {
			return err
		}
		if o.Kind == "ConfigMap" {
			config = o.Data[filepath.Base(configPath)]
		}
		for _, c := range o.Spec.Template.Spec.Containers {
			p := pod{args: c.Args, config: config}
			for _, e := range c.Env {
				p.env = append(p.env, e.Name+"="+e.Value)
			}
			s.pods[filepath.Base(file)+"/"+o.Metadata.Name] = p
		}
	}
	return nil
}

// understood has the program print the settings that a pod gives it. A pod without
// arguments is the pipeline's.
func (s *scenario) understood(ctx context.Context, p pod) error {
	config := filepath.Join(s.dir, "waybill.yaml")
	if err := os.WriteFile(config, []byte(p.config), 0o600); err != nil {
		return err
	}
	args := slices.Clone(p.args)
	if len(args) == 0 {
		args = []string{"run", "--type", "any"}
	}
	for i, a := range args {
		if a == configPath {
			args[i] = config
		}
	}
	cmd := exec.CommandContext(ctx, s.waybill, append(args, "--print-config")...) //nolint:gosec // what the script has built
	cmd.Env = p.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("waybill %s: %w: %s", strings.Join(args, " "), err, out)
	}
	help, err := exec.CommandContext(ctx, s.waybill, args[0], "--help").Output() //nolint:gosec // likewise
	if err != nil {
		return err
	}
	for _, e := range p.env {
		name, value, _ := strings.Cut(e, "=")
		flag := "--" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "WAYBILL_")), "_", "-") + " "
		if !bytes.Contains(help, []byte(flag)) {
			return fmt.Errorf("%s is not the environment variable of a setting: there is no %s", name, flag)
		}
		if name == "WAYBILL_INPUT" && !json.Valid([]byte(value)) {
			return fmt.Errorf("%s is not JSON: %s", name, value)
		}
	}
	return nil
}
