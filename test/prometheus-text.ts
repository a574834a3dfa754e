/**
 * Reads Prometheus's text exposition format by its letter
 * (https://prometheus.io/docs/instrumenting/exposition_formats/), for tests. It throws on a text that a scraper would
 * refuse.
 */

export interface Metric {
  readonly type: string
  readonly help: string
  readonly samples: readonly Sample[]
}

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const types = new Set(['counter', 'gauge', 'histogram', 'summary', 'untyped'])
const sampleShape = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/
const labelShape = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y

export function parsePrometheus(text: string): ReadonlyMap<string, Metric> {
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  const metrics = new Map<string, { type: string; help: string; samples: Sample[] }>()
  let current = ''
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const [, keyword, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? []
    if (keyword === 'HELP') {
      if (metrics.has(name)) throw new Error(`${name} is described twice`)
      metrics.set(name, { type: '', help: rest, samples: [] })
      current = name
    } else if (keyword === 'TYPE') {
      const metric = metrics.get(name)
      if (metric === undefined || name !== current || !types.has(rest)) throw new Error(`bad line: ${line}`)
      metric.type = rest
    } else {
      const sample = parseSample(line)
      const metric = metrics.get(current)
      if (metric === undefined || !belongs(sample.name, current, metric.type))
        throw new Error(`${sample.name} does not belong to ${current}`)
      metric.samples.push(sample)
    }
  }
  for (const [name, metric] of metrics) {
    const seen = new Set(metric.samples.map(({ labels, name: of }) => of + JSON.stringify(labels)))
    if (seen.size !== metric.samples.length) throw new Error(`${name} has a sample twice`)
    if (metric.type === 'histogram') checkHistogram(name, metric.samples)
  }
  return metrics
}

function parseSample(line: string): Sample {
  const [, name, labelText = '', number = ''] = sampleShape.exec(line) ?? []
  const value = number === '+Inf' ? Infinity : Number(number)
  if (name === undefined || (Number.isNaN(value) && !/^nan$/i.test(number)))
    throw new Error(`bad line: ${line}`)
  const labels: Record<string, string> = {}
  labelShape.lastIndex = 0
  while (labelShape.lastIndex < labelText.length) {
    const [, label, text] = labelShape.exec(labelText) ?? []
    if (label === undefined || text === undefined) throw new Error(`bad labels: ${line}`)
    labels[label] = text
  }
  return { name, labels, value }
}

function belongs(sample: string, metric: string, type: string): boolean {
  if (type === 'histogram') return new RegExp(`^${metric}_(bucket|sum|count)$`).test(sample)
  return type === 'summary' ? sample.startsWith(metric) : sample === metric
}

/** Buckets count what is at most their bound, so they only grow, and the last holds everything. */
function checkHistogram(name: string, samples: readonly Sample[]): void {
  const seriesOf = ({ labels: { le: _, ...labels } }: Sample) => JSON.stringify(labels)
  for (const series of Map.groupBy(samples, seriesOf).values()) {
    const buckets = series.filter((sample) => sample.name === `${name}_bucket`)
    const count = series.find((sample) => sample.name === `${name}_count`)?.value
    const bounds = buckets.map(({ labels }) => (labels.le === '+Inf' ? Infinity : Number(labels.le)))
    if (!grows(bounds) || !grows(buckets.map(({ value }) => value)))
      throw new Error(`${name}: buckets shrink`)
    if (bounds.length > 0 && (bounds.at(-1) !== Infinity || buckets.at(-1)?.value !== count))
      throw new Error(`${name}: the last bucket is not the count`)
  }
}

const grows = (values: readonly number[]) =>
  values.every((value, at) => at === 0 || value >= (values[at - 1] ?? 0))
