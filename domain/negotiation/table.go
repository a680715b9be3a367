package negotiation

// table is rows by a key. A decision works on a draft of it: what a draft changes is a copy, and
// the table under it stays as it is.
type table[V any] struct {
	rows  map[string]*V
	under *table[V] // of a draft
}

func (t *table[V]) draft() table[V] { return table[V]{under: t} }

// get is a row to look at; nil where there is none.
func (t *table[V]) get(key string) *V {
	if v, ok := t.rows[key]; ok || t.under == nil {
		return v
	}
	return t.under.rows[key]
}

// edit is a row to change. What its slices share with the table under a draft may be appended to,
// since nobody looks behind the end of what is his; it must not be written over.
func (t *table[V]) edit(key string) *V {
	if v, ok := t.rows[key]; ok || t.under == nil {
		return v
	}
	v := t.under.rows[key]
	if v == nil {
		return nil
	}
	c := *v
	t.put(key, &c)
	return &c
}

func (t *table[V]) put(key string, v *V) {
	if t.rows == nil {
		t.rows = make(map[string]*V)
	}
	t.rows[key] = v
}

func (t *table[V]) drop(key string) {
	if t.under != nil {
		t.put(key, nil)
		return
	}
	delete(t.rows, key)
}
