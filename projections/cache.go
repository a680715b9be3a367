package projections

import "slices"

func sortNodes(l []*node) {
	slices.SortFunc(l, func(a, b *node) int { return int(a.number) - int(b.number) })
}

// cached is what a cache keeps: an aggregate that is being folded.
type cached[E any] interface {
	comparable
	cacheKey() string
	// weigh is how much of the cache it takes; 0 is for what has ended, which is forgotten.
	weigh() int
	place() *cachePlace[E]
}

// cachePlace is where something stands in its cache.
type cachePlace[E any] struct {
	older, newer E
	weight       int
}

func (p *cachePlace[E]) place() *cachePlace[E] { return p }

// cache keeps what had events lately, the newest first, so that a thing is read back from
// SQLite only when it has slept for long.
type cache[E cached[E]] struct {
	byKey  map[string]E
	newest E
	oldest E
	weight int
}

// jobCache is that of the jobs: one weighs one and its open nodes.
type jobCache = cache[*job]

const (
	// maxCacheWeight bounds each cache: some 30 MB when it is full.
	maxCacheWeight = 50_000
	// documentWeight is that of a transfer, or an access: its history is in memory with it.
	documentWeight = 4
)

// get finds a thing; the zero value says that it is not here.
func (c *cache[E]) get(key string) E {
	e := c.byKey[key]
	var none E
	if e != none && e != c.newest {
		c.unlink(e)
		c.link(e)
	}
	return e
}

func (c *cache[E]) put(e E) {
	if c.byKey == nil {
		c.byKey = make(map[string]E)
	}
	c.byKey[e.cacheKey()] = e
	c.link(e)
}

func (c *cache[E]) remove(e E) {
	delete(c.byKey, e.cacheKey())
	c.unlink(e)
}

func (c *cache[E]) link(e E) {
	var none E
	p := e.place()
	p.older, p.newer = c.newest, none
	if c.newest != none {
		c.newest.place().newer = e
	} else {
		c.oldest = e
	}
	c.newest = e
}

func (c *cache[E]) unlink(e E) {
	var none E
	p := e.place()
	if p.newer != none {
		p.newer.place().older = p.older
	} else {
		c.newest = p.older
	}
	if p.older != none {
		p.older.place().newer = p.newer
	} else {
		c.oldest = p.newer
	}
	p.older, p.newer = none, none
}

// settle weighs a thing again whose changes are written, and forgets it when it has ended.
func (c *cache[E]) settle(e E) {
	p := e.place()
	c.weight -= p.weight
	p.weight = 0
	w := e.weigh()
	if w == 0 {
		c.remove(e)
		return
	}
	p.weight = w
	c.weight += w
}

// trim forgets what slept longest. All changes must be written. The newest stays, however
// large it is.
func (c *cache[E]) trim() {
	for c.weight > maxCacheWeight && c.oldest != c.newest {
		c.weight -= c.oldest.place().weight
		c.remove(c.oldest)
	}
}
