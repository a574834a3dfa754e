import { compact } from './format.ts'

export interface Bar {
  readonly label: string
  /** One value per series, from the bottom up. */
  readonly parts: readonly number[]
}

const width = 720
const height = 180
const margin = { left: 44, bottom: 22, top: 8 }

/** The least round number (1, 2 or 5 × a power of ten) that is not below `value`. */
function roundUp(value: number): number {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  const step = [1, 2, 5, 10].find((each) => each * power >= value) ?? 10
  return step * power
}

/** Stacked bars. The figures stand in a table for those who do not see the picture. */
export function Bars({
  title,
  series,
  bars,
}: {
  title: string
  series: readonly string[]
  bars: readonly Bar[]
}) {
  const top = roundUp(Math.max(...bars.map(({ parts }) => parts.reduce((sum, part) => sum + part, 0)), 0))
  const inner = { width: width - margin.left, height: height - margin.bottom - margin.top }
  const slot = inner.width / Math.max(1, bars.length)
  const y = (value: number) => margin.top + inner.height * (1 - value / top)
  const every = Math.ceil(bars.length / 8)
  return (
    <figure class="chart">
      <figcaption>
        {title}
        <span class="legend">
          {series.map((name, at) => (
            <span key={name}>
              <i class={`series-${at}`} />
              {name}
            </span>
          ))}
        </span>
      </figcaption>
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={title}>
        {[0, top / 2, top].map((value) => (
          <g key={value}>
            <line class="grid" x1={margin.left} x2={width} y1={y(value)} y2={y(value)} />
            <text x={margin.left - 6} y={y(value) + 4} text-anchor="end">
              {compact(value)}
            </text>
          </g>
        ))}
        {bars.map(({ label, parts }, at) => {
          let below = 0
          return (
            <g key={label}>
              <title>{`${label}: ${parts.map((part, of) => `${series[of] ?? ''} ${compact(part)}`).join(', ')}`}</title>
              {parts.map((part, of) => {
                const from = below
                below += part
                return (
                  <rect
                    key={series[of]}
                    class={`series-${of}`}
                    x={margin.left + at * slot + slot * 0.15}
                    width={slot * 0.7}
                    y={y(below)}
                    height={Math.max(0, y(from) - y(below))}
                  />
                )
              })}
              {at % every === 0 ? (
                <text x={margin.left + at * slot + slot / 2} y={height - 6} text-anchor="middle">
                  {label}
                </text>
              ) : null}
            </g>
          )
        })}
      </svg>
    </figure>
  )
}

export interface Line {
  readonly name: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

/** Lines over a common x axis, such as loss over steps. */
export function Lines({ title, xTitle, lines }: { title: string; xTitle: string; lines: readonly Line[] }) {
  const points = lines.flatMap((line) => line.points)
  if (points.length === 0) return null
  const most = { x: Math.max(...points.map(({ x }) => x), 1), y: Math.max(...points.map(({ y }) => y)) }
  const least = Math.min(...points.map(({ y }) => y), most.y * 0.999)
  const inner = { width: width - margin.left, height: height - margin.bottom - margin.top }
  const place = ({ x, y }: { x: number; y: number }) => ({
    x: margin.left + (inner.width * x) / most.x,
    y: margin.top + inner.height * (1 - (y - least) / Math.max(most.y - least, 1e-9)),
  })
  const path = (line: Line) =>
    line.points
      .map(place)
      .map(({ x, y }, at) => `${at === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`)
      .join('')
  return (
    <figure class="chart">
      <figcaption>
        {title}
        <span class="legend">
          {lines.map(({ name }, at) => (
            <span key={name}>
              <i class={`series-${at}`} />
              {name}
            </span>
          ))}
        </span>
      </figcaption>
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={title}>
        {[least, (least + most.y) / 2, most.y].map((value) => (
          <g key={value}>
            <line
              class="grid"
              x1={margin.left}
              x2={width}
              y1={place({ x: 0, y: value }).y}
              y2={place({ x: 0, y: value }).y}
            />
            <text x={margin.left - 6} y={place({ x: 0, y: value }).y + 4} text-anchor="end">
              {value.toPrecision(3)}
            </text>
          </g>
        ))}
        {lines.map((line, at) => (
          <path key={line.name} class={`line series-${at}`} d={path(line)} />
        ))}
        <text x={width} y={height - 6} text-anchor="end">
          {`${xTitle} ${most.x}`}
        </text>
      </svg>
    </figure>
  )
}

/** How much of a limit is used. */
export function LevelBar({
  label,
  used,
  limit,
  note,
}: {
  label: string
  used: number
  limit: number
  note?: string
}) {
  const share = limit === 0 ? 1 : Math.min(1, used / limit)
  return (
    <div class="meter">
      <div class="meter-head">
        <span>{label}</span>
        <span class="quiet">{`${compact(used)} of ${compact(limit)}`}</span>
      </div>
      <progress
        class={share >= 1 ? 'bad' : share >= 0.8 ? 'warn' : undefined}
        value={share}
        max={1}
        aria-label={label}
      >
        {`${Math.round(share * 100)} %`}
      </progress>
      {note === undefined ? null : <p class="hint">{note}</p>}
    </div>
  )
}
