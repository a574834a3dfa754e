import { z } from 'zod'
import { QuartetError } from '../errors.ts'

/** The settings of OpenTelemetry on edge and node, by variable; it is off without an endpoint. */
export interface TelemetrySettings {
  /** URL of an OTLP/HTTP receiver, without `/v1/traces`. */
  readonly endpoint: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** Share of the traces that begin here which are recorded, 0..1. */
  readonly ratio: number
}

export interface TelemetryVariables {
  readonly QUARTET_OTLP_ENDPOINT?: string | undefined
  readonly QUARTET_OTLP_HEADERS?: string | undefined
  readonly QUARTET_TRACE_RATIO?: string | undefined
}

const Endpoint = z.url({ protocol: /^https?$/ }).transform((url) => url.replace(/\/+$/, ''))
const Ratio = z.coerce.number().min(0).max(1)
const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** Throws `internal_error` that names the variable; never with a header's value, which is a secret. */
export function telemetrySettings(variables: TelemetryVariables): TelemetrySettings {
  const { QUARTET_OTLP_ENDPOINT, QUARTET_OTLP_HEADERS, QUARTET_TRACE_RATIO } = variables
  const endpoint = Endpoint.optional().safeParse(QUARTET_OTLP_ENDPOINT || undefined)
  if (!endpoint.success) throw refusal('QUARTET_OTLP_ENDPOINT must be a URL like http://collector:4318')
  const ratio = Ratio.safeParse(QUARTET_TRACE_RATIO || 1)
  if (!ratio.success) throw refusal('QUARTET_TRACE_RATIO must be a number from 0 to 1')
  return { endpoint: endpoint.data, headers: parseHeaders(QUARTET_OTLP_HEADERS ?? ''), ratio: ratio.data }
}

/** `name=value,name=value`, values percent-encoded, as in OTEL_EXPORTER_OTLP_HEADERS. */
function parseHeaders(text: string): Record<string, string> {
  const pairs = text.split(',').filter((pair) => pair.trim() !== '')
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=')
      const name = pair.slice(0, Math.max(0, at)).trim()
      const value = decoded(pair.slice(at + 1).trim())
      if (at === -1 || !headerName.test(name) || value === undefined)
        throw refusal('QUARTET_OTLP_HEADERS must be like authorization=Bearer%20…,x-team=quartet')
      return [name, value]
    }),
  )
}

function decoded(text: string): string | undefined {
  try {
    const value = decodeURIComponent(text)
    return /^[\x20-\x7e]*$/.test(value) ? value : undefined
  } catch {
    return undefined
  }
}

const refusal = (message: string) => new QuartetError('internal_error', message)
