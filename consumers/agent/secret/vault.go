package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	defaultMount = "secret" // where Vault's own guides mount KV v2
	// kubernetesToken is where a pod finds the token of its service account.
	kubernetesToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path
	vaultTimeout    = 10 * time.Second
	// earlier is how much of a token's life is left when another is asked for.
	earlier = 4
)

// VaultConfig says how to reach Vault and how to log in there: with a token, as an AppRole
// or as a Kubernetes service account. Vault's own environment variables (VAULT_ADDR,
// VAULT_CACERT, VAULT_NAMESPACE, VAULT_TOKEN and so on) hold for what is not set.
type VaultConfig struct {
	Address   string `json:"address,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Mount     string `json:"mount,omitempty"` // of the KV v2 engine; "secret" unless set

	Token      Ref              `json:"token,omitzero"` // a file or an environment variable
	AppRole    *AppRoleLogin    `json:"appRole,omitempty"`
	Kubernetes *KubernetesLogin `json:"kubernetes,omitempty"`
}

// AppRoleLogin logs in as an AppRole.
type AppRoleLogin struct {
	RoleID   string `json:"roleId"`
	SecretID Ref    `json:"secretId"`
	Mount    string `json:"mount,omitempty"` // of the auth method; "approle" unless set
}

// KubernetesLogin logs in as a service account.
type KubernetesLogin struct {
	Role  string `json:"role"`
	File  string `json:"file,omitempty"`  // with the account's token; the pod's own unless set
	Mount string `json:"mount,omitempty"` // of the auth method; "kubernetes" unless set
}

// Check says what does not fit together.
func (c VaultConfig) Check() error {
	ways := 0
	for _, given := range []bool{!c.Token.IsZero(), c.AppRole != nil, c.Kubernetes != nil} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("vault: want one of token, appRole and kubernetes")
	case !c.Token.IsZero() && (c.Token.Vault != "" || c.Token.Check() != nil):
		return errors.New("vault: token: want {file: PATH} or {env: NAME}")
	case c.AppRole != nil && (c.AppRole.RoleID == "" || c.AppRole.SecretID.Vault != "" || c.AppRole.SecretID.Check() != nil):
		return errors.New("vault: appRole: want a roleId and a secretId, {file: PATH} or {env: NAME}")
	case c.Kubernetes != nil && c.Kubernetes.Role == "":
		return errors.New("vault: kubernetes: want a role")
	}
	return nil
}

// vault reads secrets of one KV v2 engine, and keeps them for a while.
type vault struct {
	cfg    VaultConfig
	keep   time.Duration
	getenv func(string) (string, bool)
	client *api.Client // nil: there is no Vault

	mu      sync.Mutex // held while Vault is asked: many who want the same secret ask once
	relogin time.Time  // when to log in again; zero: a token that is not ours to renew
	cached  map[string]entry
}

type entry struct {
	data  map[string]any
	until time.Time
}

func newVault(cfg Config) (*vault, error) {
	v := &vault{cfg: cfg.Vault, keep: cfg.Keep, getenv: cfg.Getenv, cached: map[string]entry{}}
	v.cfg.Mount = cmp.Or(v.cfg.Mount, defaultMount)
	if err := v.cfg.Check(); err != nil {
		return nil, err
	}
	if address, _ := cfg.Getenv(api.EnvVaultAddress); v.cfg.Address == "" && address == "" {
		return v, nil
	}
	c := api.DefaultConfig()
	if c.Error != nil {
		return nil, fmt.Errorf("vault: %w", c.Error)
	}
	c.Address = cmp.Or(v.cfg.Address, c.Address)
	c.Timeout = vaultTimeout
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("vault at %s: %w", c.Address, err)
	}
	if v.cfg.Namespace != "" {
		client.SetNamespace(v.cfg.Namespace)
	}
	if !v.cfg.Token.IsZero() || v.cfg.AppRole != nil || v.cfg.Kubernetes != nil {
		client.ClearToken() // what is configured goes before the environment
	}
	v.client = client
	return v, nil
}

// get is one key of one secret.
func (v *vault) get(ctx context.Context, path, key string) (string, error) {
	if v.client == nil {
		return "", fmt.Errorf("no Vault is configured: set vault.address or %s", api.EnvVaultAddress)
	}
	data, err := v.read(ctx, path)
	if err != nil {
		return "", err
	}
	text, ok := data[key].(string)
	if !ok {
		return "", fmt.Errorf("it has no key %q with a text", key)
	}
	return text, nil
}

func (v *vault) read(ctx context.Context, path string) (map[string]any, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if e, ok := v.cached[path]; ok && now.Before(e.until) {
		return e.data, nil
	}
	if err := v.login(ctx, now); err != nil {
		return nil, err
	}
	kv, err := v.client.KVv2(v.cfg.Mount).Get(ctx, path)
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden {
		v.relogin = time.Unix(0, 0) // the token may have been revoked
	}
	if err != nil {
		return nil, err
	}
	v.cached[path] = entry{kv.Data, now.Add(v.keep)}
	return kv.Data, nil
}

// login gets a token, unless the one at hand is good for a while.
func (v *vault) login(ctx context.Context, now time.Time) error {
	if v.client.Token() != "" && (v.relogin.IsZero() || now.Before(v.relogin)) {
		return nil
	}
	var path string
	var body map[string]any
	switch {
	case v.cfg.AppRole != nil:
		id, err := v.local(v.cfg.AppRole.SecretID)
		if err != nil {
			return err
		}
		path, body = cmp.Or(v.cfg.AppRole.Mount, "approle"), map[string]any{"role_id": v.cfg.AppRole.RoleID, "secret_id": id}
	case v.cfg.Kubernetes != nil:
		jwt, err := readFile(cmp.Or(v.cfg.Kubernetes.File, kubernetesToken))
		if err != nil {
			return fmt.Errorf("token of the service account: %w", err)
		}
		path, body = cmp.Or(v.cfg.Kubernetes.Mount, "kubernetes"), map[string]any{"role": v.cfg.Kubernetes.Role, "jwt": jwt}
	default:
		return v.useToken(now)
	}
	v.client.ClearToken()
	got, err := v.client.Logical().WriteWithContext(ctx, "auth/"+path+"/login", body)
	if err != nil {
		return fmt.Errorf("log in to Vault as %s: %w", path, err)
	}
	if got == nil || got.Auth == nil {
		return fmt.Errorf("log in to Vault as %s: it answered without a token", path)
	}
	v.client.SetToken(got.Auth.ClientToken)
	life := time.Duration(got.Auth.LeaseDuration) * time.Second
	v.relogin = now.Add(life - life/earlier)
	if life == 0 {
		v.relogin = time.Time{}
	}
	return nil
}

// useToken takes the token that somebody else keeps alive; a file is read again now and
// then, for that is how Vault's own agent hands out new ones.
func (v *vault) useToken(now time.Time) error {
	if v.cfg.Token.IsZero() {
		if v.client.Token() == "" {
			return fmt.Errorf("no way to log in to Vault: set vault.token, vault.appRole, vault.kubernetes or %s", api.EnvVaultToken)
		}
		v.relogin = time.Time{}
		return nil
	}
	token, err := v.local(v.cfg.Token)
	if err != nil {
		return err
	}
	v.client.SetToken(token)
	v.relogin = now.Add(v.keep)
	return nil
}

// local is a secret that is not kept in Vault.
func (v *vault) local(r Ref) (string, error) {
	if r.File != "" {
		return readFile(r.File)
	}
	text, ok := v.getenv(r.Env)
	if !ok || text == "" {
		return "", fmt.Errorf("%s is not set", r)
	}
	return text, nil
}
