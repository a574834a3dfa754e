import { z } from 'zod'

const maxUrlLength = 256

/**
 * Where edges reach a node, as an origin: paths are the edge's to choose, and a URL that a node says of itself must not
 * steer what is sent to it.
 */
export const NodeUrl = z
  .string()
  .max(maxUrlLength, `must have at most ${maxUrlLength} characters`)
  .transform((text, context) => {
    const url = URL.parse(text)
    const fault = faultOf(url)
    if (url !== null && fault === undefined) return url.origin
    context.addIssue({ code: 'custom', message: fault ?? 'is no URL' })
    return z.NEVER
  })

function faultOf(url: URL | null): string | undefined {
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    return 'must be an http or https URL, like http://10.0.0.7:8788'
  if (url.username !== '' || url.password !== '') return 'must have no user name and no password'
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    return 'must have no path, query or fragment, like http://10.0.0.7:8788'
  return undefined
}
