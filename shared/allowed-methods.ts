interface Route {
  /** `ALL`: middleware, which is no method of a path's own. */
  readonly method: string
  readonly path: string
}

/** The methods that a router's paths answer, by path; HEAD goes with GET. Paths with middleware alone are left out. */
export function allowedMethods(routes: readonly Route[]): Map<string, readonly string[]> {
  const own = routes.filter(({ method }) => method !== 'ALL')
  return new Map(
    [...Map.groupBy(own, ({ path }) => path)].map(([path, of]) => {
      const methods = of.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
      return [path, [...new Set(methods)].toSorted()]
    }),
  )
}
