import type { Context, Hono, MiddlewareHandler } from 'hono'
import type { H } from 'hono/types'
import type { z } from 'zod'
import { allowedMethods } from '../../../shared/allowed-methods.ts'
import { QuartetError } from '../../../shared/errors.ts'
import { type AuditedAction, audited } from '../../audit/audited.ts'
import { type RouteScopes, requireScopes } from '../../auth/scopes.ts'
import { hasRoom, refuseOverLimits } from '../../budgets/refuse-over-limits.ts'
import { type GenerationSchema, generationBody, handleGeneration } from '../../http/generation-request.ts'
import { idempotent } from '../../http/idempotency.ts'
import { idempotentGeneration } from '../../http/idempotent-generation.ts'
import type { Operation } from '../../openapi/operation.ts'
import type { AdminApp, App, ControlApp, TenantApp } from '../../request-context.ts'

/**
 * One route: the operation as the document describes it, and the function that answers it. It is registered and described
 * from this one record.
 *
 * @example
 * {
 *   method: 'get',
 *   path: '/v1/models/{model}',
 *   id: 'getModel',
 *   handle: getModel,
 *   tag: 'Models',
 *   summary: 'Show a model',
 *   auth: 'tenant',
 *   scopes: everyScope,
 *   parameters: { model: pathSchemas.model },
 *   answer: json('The model.', Model),
 *   errors: ['model_not_found'],
 * }
 */
export type Route = Operation & Handling

type Handling = {
  /** The audit log is told of the action by this name, before it begins and when it has ended. */
  readonly audit?: AuditedAction
  /** Runs in front of all else. */
  readonly before?: MiddlewareHandler<TenantApp>
  /** Refused before its body is read where the tenant's limits have no room for any request. */
  readonly limited?: true
} & (
  | {
      readonly auth: 'tenant'
      /** A key with scopes must have one of these. */
      readonly scopes: RouteScopes
      readonly handle: Handle<TenantApp | ControlApp | (TenantApp & ControlApp)>
    }
  | { readonly auth: 'admin'; readonly handle: Handle<App | AdminApp | ControlApp> }
  | { readonly auth: 'node' | 'none'; readonly handle: Handle<App> }
)

/** A function that needs one of these contexts. */
type Handle<E> = E extends App ? (c: Context<E>) => Response | Promise<Response> : never

/** A route whose body asks for text, or for the count of its tokens. */
interface GenerationRoute<S> extends Omit<Operation, 'auth' | 'body'> {
  readonly request: S
  /** Parameters that have an effect here, though not elsewhere. */
  readonly effective?: readonly string[]
  readonly handle: (request: z.output<S>, c: Context<TenantApp>) => Promise<Response>
}

/** Its body is parsed once, also where an Idempotency-Key is told of it first, and where the limits have room for it. */
export function generationRoute<S extends GenerationSchema>({
  handle,
  effective,
  request: schema,
  ...operation
}: GenerationRoute<S>): Route {
  const readBody = generationBody(schema)
  return {
    ...operation,
    auth: 'tenant',
    scopes: ['inference'],
    body: { json: schema },
    limited: true,
    ...(operation.idempotency === 'generation' && { before: idempotentGeneration({ hasRoom, readBody }) }),
    handle: handleGeneration({ readBody, effective, handle }),
  }
}

/**
 * Registers every route, and for each path a refusal of the methods that it does not have. Whoever is let in to a path is
 * the app's to say, by middleware in front: a path that there is not tells a stranger nothing either.
 */
export function registerRoutes(app: Hono<App>, routes: readonly Route[]): void {
  const registered = routes.map((route) => {
    const method = route.method.toUpperCase()
    const path = route.path.replaceAll(/\{([A-Za-z]+)\}/g, ':$1')
    return { method, path, steps: steps(route, `${method} ${path}`) }
  })
  for (const { method, path, steps } of registered) app.on(method, [path], ...steps)
  for (const [path, allow] of allowedMethods(registered))
    app.all(path, ({ req }) => {
      throw new QuartetError(
        'method_not_allowed',
        `${req.path} answers ${allow.join(', ')}, not ${req.method}`,
        { allow },
      )
    })
}

function steps(route: Route, name: string): H[] {
  const { audit, before, handle, idempotency, limited } = route
  return [
    ...(route.auth === 'tenant' ? [requireScopes(route.scopes, name)] : []),
    ...(idempotency === 'action' ? [idempotent] : []),
    ...(before === undefined ? [] : [before]),
    ...(limited === true ? [refuseOverLimits] : []),
    ...(audit === undefined ? [] : [audited(audit)]),
    handle,
  ]
}
