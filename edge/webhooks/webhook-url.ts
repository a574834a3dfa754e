import { QuartetError } from '../../shared/errors.ts'

/** Names that lead to no public host, by their last label (RFC 6761, 6762 with its appendix G, 8375, 9476 and common use). */
const privateDomains: ReadonlySet<string> = new Set([
  'localhost',
  'localdomain',
  'local',
  'private',
  'internal',
  'intranet',
  'intra',
  'lan',
  'home',
  'corp',
  // Kubernetes and Consul.
  'svc',
  'consul',
  'test',
  'invalid',
  'example',
  'onion',
  'alt',
  'arpa',
])

/**
 * A webhook's URL: https, a public host's name, the usual port. Throws `invalid_request` with what is wrong. With
 * `allowPrivate` any http or https URL without a user: for machines of one's own.
 */
export function checkWebhookUrl(text: string, { allowPrivate }: { readonly allowPrivate: boolean }): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined) throw wrong('is no URL; give one such as https://example.com/quartet')
  if (url.username !== '' || url.password !== '') throw wrong('holds a user or a password; leave them out')
  if (url.hash !== '') throw wrong('has a fragment (#…); leave it out')
  if (allowPrivate && url.protocol === 'http:') return url
  if (url.protocol !== 'https:') throw wrong('must begin with https://')
  if (allowPrivate) return url
  if (url.port !== '') throw wrong('names a port; the usual one of https is the only one')
  // The URL parser has written every other spelling of an IPv4 address in this one.
  const host = url.hostname.replace(/\.+$/, '')
  if (host.startsWith('[') || /^[0-9.]+$/.test(host))
    throw wrong('names an address; give the name of a public host')
  const labels = host.split('.')
  const last = labels.at(-1) ?? ''
  if (labels.length < 2 || labels.includes('') || privateDomains.has(last))
    throw wrong(`names ${host}, which is no public host; give the name of one`)
  return url
}

const wrong = (problem: string) => new QuartetError('invalid_request', `url: ${problem}`, { param: 'url' })
