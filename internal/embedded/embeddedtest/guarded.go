package embeddedtest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybill/waybill/internal/kafka"
)

// Guard gives rights to a user and takes them away.
type Guard struct {
	t   testing.TB
	adm *kadm.Client
}

// Guarded is a cluster that asks everybody who they are and allows nothing without an ACL: as a user without any
// rights, and as its administrator.
func Guarded(t testing.TB) (user, admin kafka.Config, g Guard) {
	t.Helper()
	user = New(t, kfake.ClusterID("guarded"), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "admin", "a"), kfake.User("PLAIN", "user", "u"))
	user.Embedded = false
	admin = user
	admin.Security = kafka.Security{SASL: "plain", User: "admin", Password: "a"}
	user.Security = kafka.Security{SASL: "plain", User: "user", Password: "u"}
	cl, err := admin.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return user, admin, Guard{t, kadm.NewClient(cl)}
}

// Allow gives rights to the user.
func (g Guard) Allow(rights ...kafka.Right) {
	g.t.Helper()
	for _, r := range rights {
		done, err := g.adm.CreateACLs(g.t.Context(), acl(r).AllowHosts())
		if err != nil {
			g.t.Fatal(err)
		}
		for _, d := range done {
			if d.Err != nil {
				g.t.Fatal(d.Err)
			}
		}
	}
}

// Take takes rights away from the user.
func (g Guard) Take(rights ...kafka.Right) {
	g.t.Helper()
	for _, r := range rights {
		done, err := g.adm.DeleteACLs(g.t.Context(), acl(r).AllowHosts())
		if err != nil {
			g.t.Fatal(err)
		}
		for _, d := range done {
			if d.Err != nil || len(d.Deleted) == 0 {
				g.t.Fatalf("%+v is not taken away: %v", r, d.Err)
			}
		}
	}
}

func acl(r kafka.Right) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:user").Operations(r.Operations...).ResourcePatternType(kadm.ACLPatternLiteral)
	if r.Prefixed {
		b.ResourcePatternType(kadm.ACLPatternPrefixed)
	}
	if r.On == kafka.OnGroup {
		return b.Groups(r.Name)
	}
	return b.Topics(r.Name)
}
