import { useEffect, useState } from 'preact/hooks'

/** The page that the address names: `#/models/support-tone` is the page `models` with the argument `support-tone`. */
export interface PageRoute {
  readonly page: string
  readonly argument: string | undefined
}

function parseRoute(hash: string): PageRoute {
  const [page = '', ...rest] = hash.replace(/^#\/?/, '').split('/')
  return { page, argument: rest.length === 0 ? undefined : decoded(rest.join('/')) }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

export const href = (page: string, argument?: string): string =>
  argument === undefined ? `#/${page}` : `#/${page}/${encodeURIComponent(argument)}`

export function useRoute(): PageRoute {
  const [route, setRoute] = useState(() => parseRoute(location.hash))
  useEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash))
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return route
}
