package secret_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent/secret"
)

func TestASecretNeverPrints(t *testing.T) {
	v := secret.New("hunter22")
	holder := struct {
		Name string
		Key  secret.Value
		In   *secret.Value
	}{"x", v, &v}
	raw, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "key", v, "holder", holder)
	for _, printed := range []string{
		v.String(), fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s %q %x %d", v, v, v, v, v, v, v),
		fmt.Sprintf("%v %+v %#v", holder, holder, holder), string(raw), log.String(),
	} {
		if strings.Contains(printed, "hunter22") || strings.Contains(printed, fmt.Sprintf("%x", "hunter22")) {
			t.Errorf("it prints: %s", printed)
		}
	}
	if v.Reveal() != "hunter22" || v.Empty() || !v.Equal(secret.New("hunter22")) || v.Equal(secret.New("x")) {
		t.Error("it has lost its value")
	}
	if (secret.Value{}).Reveal() != "" || !(secret.Value{}).Empty() {
		t.Error("the zero Value is not empty")
	}
}

func TestSecretsFromFilesAndTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s, err := secret.NewStore(secret.Config{Getenv: func(name string) (string, bool) {
		return map[string]string{"KEY": "from-env", "NONE": ""}[name], name == "KEY" || name == "NONE"
	}})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[secret.Ref]string{
		{File: write("key", "from-file\r\n")}: "from-file",
		{File: write("pem", "a\nb\n\n")}:      "a\nb",
		{Env: "KEY"}:                          "from-env",
	} {
		got, err := s.Get(t.Context(), ref)
		if err != nil || got.Reveal() != want {
			t.Errorf("%s: got %q, %v", ref, got.Reveal(), err)
		}
	}
	for ref, says := range map[secret.Ref]string{
		{}:                                   "one of",
		{File: "a", Env: "b"}:                "one of",
		{Vault: "no key"}:                    "PATH#KEY",
		{Env: "NONE"}:                        "empty",
		{Env: "UNKNOWN"}:                     "not set",
		{File: filepath.Join(dir, "absent")}: "no such file",
		{File: write("large", strings.Repeat("x", 2<<20))}: "over the limit",
		{Vault: "a#b"}: "no Vault is configured",
	} {
		if _, err := s.Get(t.Context(), ref); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", ref, err, says)
		}
	}
	if got := s.Redact("with from-env and from-file in it"); got != "with "+secret.Redacted+" and "+secret.Redacted+" in it" {
		t.Errorf("redacted to %q", got)
	}
}

// vault speaks as much of Vault's HTTP API as an agent needs.
type vault struct {
	*httptest.Server
	tokens, reads, logins atomic.Int64
	value                 atomic.Pointer[string]
}

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{}
	first := "s3cret-1"
	v.value.Store(&first)
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(value); err != nil {
			t.Error(err)
		}
	}
	login := func(check func(body map[string]string) bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var body map[string]string
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !check(body) {
				answer(w, http.StatusBadRequest, map[string]any{"errors": []string{"invalid credentials"}})
				return
			}
			v.logins.Add(1)
			token := fmt.Sprintf("token-%d", v.tokens.Add(1))
			answer(w, http.StatusOK, map[string]any{"auth": map[string]any{"client_token": token, "lease_duration": 3600}})
		}
	}
	mux.HandleFunc("PUT /v1/auth/approle/login", login(func(b map[string]string) bool { return b["role_id"] == "greeter" && b["secret_id"] == "sid" }))
	mux.HandleFunc("PUT /v1/auth/kubernetes/login", login(func(b map[string]string) bool { return b["role"] == "greeter" && b["jwt"] == "jwt" }))
	mux.HandleFunc("GET /v1/kv/data/greeter/api", func(w http.ResponseWriter, r *http.Request) {
		v.reads.Add(1)
		if got := r.Header.Get("X-Vault-Token"); got != fmt.Sprintf("token-%d", v.tokens.Load()) {
			answer(w, http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
			return
		}
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{
			"data":     map[string]any{"key": *v.value.Load(), "number": 7},
			"metadata": map[string]any{"version": 1, "created_time": "2026-01-02T03:04:05Z"},
		}})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
	})
	v.Server = httptest.NewServer(mux)
	t.Cleanup(v.Close)
	return v
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretsFromVault(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "")
	for name, way := range map[string]func(*secret.VaultConfig, *vault){
		"a token in a file": func(c *secret.VaultConfig, v *vault) {
			v.tokens.Store(1)
			c.Token = secret.Ref{File: file(t, "token-1\n")}
		},
		"an AppRole": func(c *secret.VaultConfig, _ *vault) {
			c.AppRole = &secret.AppRoleLogin{RoleID: "greeter", SecretID: secret.Ref{File: file(t, "sid")}}
		},
		"a service account": func(c *secret.VaultConfig, _ *vault) {
			c.Kubernetes = &secret.KubernetesLogin{Role: "greeter", File: file(t, "jwt")}
		},
	} {
		t.Run("with "+name, func(t *testing.T) {
			v := newVault(t)
			cfg := secret.Config{Vault: secret.VaultConfig{Address: v.URL, Mount: "kv"}, Keep: time.Hour}
			way(&cfg.Vault, v)
			s, err := secret.NewStore(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				got, err := s.Get(t.Context(), secret.Ref{Vault: "greeter/api#key"})
				if err != nil || got.Reveal() != "s3cret-1" {
					t.Fatalf("got %q, %v", got.Reveal(), err)
				}
			}
			if v.reads.Load() != 1 || v.logins.Load() > 1 {
				t.Errorf("Vault was read %d times, after %d logins", v.reads.Load(), v.logins.Load())
			}
			for ref, says := range map[string]string{"greeter/api#none": "no key", "greeter/api#number": "no key", "greeter/other#key": "secret not found"} {
				if _, err := s.Get(t.Context(), secret.Ref{Vault: ref}); err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("%s: got %v, want %q", ref, err, says)
				}
			}
		})
	}
	t.Run("again when it was rotated, and with another login when the token was revoked", func(t *testing.T) {
		v := newVault(t)
		s, err := secret.NewStore(secret.Config{Keep: time.Nanosecond, Vault: secret.VaultConfig{
			Address: v.URL, Mount: "kv", AppRole: &secret.AppRoleLogin{RoleID: "greeter", SecretID: secret.Ref{File: file(t, "sid")}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		ref := secret.Ref{Vault: "greeter/api#key"}
		if _, err := s.Get(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		second := "s3cret-2"
		v.value.Store(&second)
		v.tokens.Add(10) // the token is no longer good
		if _, err := s.Get(t.Context(), ref); err == nil {
			t.Fatal("a revoked token was good")
		}
		got, err := s.Get(t.Context(), ref)
		if err != nil || got.Reveal() != second {
			t.Fatalf("got %q, %v", got.Reveal(), err)
		}
	})
	t.Run("not at all where two ways are configured", func(t *testing.T) {
		_, err := secret.NewStore(secret.Config{Vault: secret.VaultConfig{
			Token: secret.Ref{Env: "T"}, Kubernetes: &secret.KubernetesLogin{Role: "r"},
		}})
		if err == nil || !strings.Contains(err.Error(), "one of") {
			t.Fatalf("got %v", err)
		}
	})
}
