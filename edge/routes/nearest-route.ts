/** A route as the document names it: its method, and its path with parameters in braces. */
interface Named {
  readonly method: string
  readonly path: string
}

/** Paths of other servers that speak nearly the same API, and the routes that do the same here. */
const elsewhere: Readonly<Record<string, string>> = {
  '/api/chat': 'POST /v1/chat/completions',
  '/api/generate': 'POST /v1/completions',
  '/api/embed': 'POST /v1/embeddings',
  '/api/embeddings': 'POST /v1/embeddings',
  '/api/tags': 'GET /v1/models',
  '/generate': 'POST /v1/completions',
  '/v1/complete': 'POST /v1/completions',
  '/v1/edits': 'POST /v1/chat/completions',
  '/v1/fine-tunes': 'POST /v1/fine_tuning/jobs',
  '/ping': 'GET /health',
}

/** Segments that clients put in front of a path, or leave out. */
const prefixes: ReadonlySet<string> = new Set(['', 'v1', 'v2', 'v1beta', 'api', 'openai', 'admin'])
/** Parts of a path that may be wrong: more is another path. */
const mostWrong = 1
const prefixCost = 0.3
/** Characters of a word that may be wrong: more is another word. */
const mostTypos = 0.34

/** The route nearest to a path that does not exist, as `METHOD /path`; undefined where none is near. */
export function nearestRoute(asked: Named, routes: readonly Named[]): string | undefined {
  const known = elsewhere[asked.path.toLowerCase()]
  if (known !== undefined) return known
  const segments = segmentsOf(asked.path.toLowerCase())
  const scored = routes
    .map((route) => ({ route, cost: distance(segments, segmentsOf(route.path)) }))
    .filter(({ cost }) => cost <= mostWrong)
  const rank = ({ cost, route }: (typeof scored)[number]) =>
    cost + (route.method.toUpperCase() === asked.method ? 0 : 0.01)
  const [best] = scored.toSorted((a, b) => rank(a) - rank(b))
  return best && `${best.route.method.toUpperCase()} ${best.route.path}`
}

const segmentsOf = (path: string): string[] => path.split('/').filter((segment) => segment !== '')

/** Edit distance of two paths, segment by segment. Infinite where no word of the path is asked for. */
function distance(asked: readonly string[], route: readonly string[]): number {
  const drop = (segment: string | undefined) => (prefixes.has(segment ?? '') ? prefixCost : mostWrong)
  let row = [0]
  for (const [at, segment] of route.entries()) row.push((row[at] ?? 0) + drop(segment))
  for (const segment of asked) {
    const next = [(row[0] ?? 0) + drop(segment)]
    for (const [at, own] of route.entries())
      next.push(
        Math.min(
          (row[at] ?? 0) + difference(segment, own),
          (row[at + 1] ?? 0) + drop(segment),
          (next[at] ?? 0) + drop(own),
        ),
      )
    row = next
  }
  const words = route.filter((segment) => !segment.startsWith('{') && !prefixes.has(segment))
  const isNamed = words.some((word) => asked.some((segment) => difference(segment, word) < mostWrong))
  return isNamed ? (row.at(-1) ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
}

function difference(asked: string, own: string): number {
  if (asked === own) return 0
  if (own.startsWith('{')) return prefixes.has(asked) ? Number.POSITIVE_INFINITY : 0
  const plain = (word: string) => word.replaceAll(/[-_]/g, '')
  const typos = editDistance(plain(asked), plain(own)) / Math.max(asked.length, own.length)
  return typos <= mostTypos ? 0.05 + typos : Number.POSITIVE_INFINITY
}

/** Levenshtein's distance; long words are as far apart as they are long. */
function editDistance(a: string, b: string): number {
  if (Math.max(a.length, b.length) > 64) return a === b ? 0 : Math.max(a.length, b.length)
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1]
    for (let j = 0; j < b.length; j++)
      next.push(Math.min((row[j] ?? 0) + (a[i] === b[j] ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    row = next
  }
  return row.at(-1) ?? 0
}
