package machines

import (
	"context"

	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/schemas"
)

// InForce is what a change of a definition needs to know of the others. It is safe for
// concurrent use.
type InForce interface {
	Activity(activityType string) (definition.ActivityType, bool)
	BuiltIn(key string) bool
	UsedBy(activityType string) []string
	// CatchUp waits until the others' changes so far are known.
	CatchUp(ctx context.Context) error
}

// Definition is the machine of definitions.
func Definition(others InForce) runner.Binding {
	return runner.Machine[definition.State, definition.Command, definition.Event]{
		Name:          schemas.AggregateDefinition,
		New:           definition.New,
		DecodeCommand: schemas.DecodeDefinitionCommand,
		Admit: func(ctx context.Context, id string, c definition.Command) (definition.Command, error) {
			return admitDefinition(ctx, others, id, c)
		},
		IsReport:    func(definition.Command) (bool, bool) { return false, false },
		Hash:        schemas.Fingerprint,
		EncodeEvent: schemas.EncodeDefinitionEvent,
		NewDecoder:  func() func(string, []byte) (definition.Event, error) { return schemas.DecodeDefinitionEvent },
		Snapshot: &runner.Snapshot[definition.State]{
			Version: definition.SnapshotVersion, Encode: definition.State.EncodeSnapshot,
			Decode: func(version int, id string, data []byte) (definition.State, error) {
				return definition.New(id).DecodeSnapshot(version, data)
			},
		},
	}
}

// admitDefinition fills in what the decision needs to know of the other definitions: an
// activity type may have been put a moment ago, at another shard.
func admitDefinition(ctx context.Context, others InForce, id string, c definition.Command) (definition.Command, error) {
	switch c := c.(type) {
	case definition.Put:
		if err := others.CatchUp(ctx); err != nil {
			return nil, err
		}
		c.BuiltIn, c.Types = others.BuiltIn(id), others.Activity
		return c, nil
	case definition.Delete:
		if err := others.CatchUp(ctx); err != nil {
			return nil, err
		}
		c.BuiltIn = others.BuiltIn(id)
		if kind, typ, ok := definition.ParseKey(id); ok && kind == definition.KindActivity {
			c.UsedBy = others.UsedBy(typ)
		}
		return c, nil
	}
	return c, nil
}
