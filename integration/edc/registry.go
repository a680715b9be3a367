package main

import (
	"context"
	"maps"
)

// registry looks parts up in the provider's registry, which is found by its type, and fetches their submodels.
func (s *scenario) registry(ctx context.Context) error {
	srv, err := s.serve(ctx, "registry", s.peers, nil)
	if err != nil {
		return err
	}
	values := map[string]string{"test-document": sentence, "car": "brown fox the lazy dog", "wheel": "made on demand"}
	run := func(suffix string, parts ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			return atOnce(ctx, len(parts), func(ctx context.Context, i int) error {
				id := "registry-" + parts[i] + suffix
				input := map[string]string{"globalAssetId": parts[i], "provider": s.peers.of[provider1].ProtocolURL}
				if err := srv.submit(ctx, id, "registry-tree", input); err != nil {
					return err
				}
				return s.ends(ctx, srv, id, values[parts[i]])
			})
		}
	}
	with := func(registry int, more map[string]int) map[string]int {
		all := maps.Clone(more)
		if registry > 0 {
			all["registry"] = registry
		}
		return all
	}
	different := map[string]int{root + "-2": 1, root + "-4": 1, "provisioned-document": 1}
	if err := s.counted(ctx, "two parts at once", with(1, different), with(2, different), run("", "car", "wheel")); err != nil {
		return err
	}
	rest := map[string]int{root: 1, root + "-3": 1}
	if err := s.counted(ctx, "a third part", rest, with(1, ofTree(1)), run("", "test-document")); err != nil {
		return err
	}
	all := ofTree(1)
	all[root+"-2"], all[root+"-4"], all["provisioned-document"] = 2, 2, 1
	if err := s.counted(ctx, "all of them again", nil, with(3, all), run("-again", "car", "wheel", "test-document")); err != nil {
		return err
	}
	return srv.stop()
}
