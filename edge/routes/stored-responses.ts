import type { Context } from 'hono'
import { type InputItem, InputItemsQuery } from '../../shared/api/responses.ts'
import { parseQuery, pathParameter } from '../http/request-parts.ts'
import type { TenantApp } from '../request-context.ts'
import {
  noResponse,
  type StoredResponse,
  type StoredResponses,
  storedResponse,
} from '../responses/stored-response.ts'

/** The caller's own stored responses. */
export const ownResponses = (c: Context<TenantApp>): StoredResponses =>
  c.get('platform').responses(c.get('tenant'), c.get('tenantRecord').createdAt)

/** `GET /v1/responses/{response}`. */
export async function getResponse(c: Context<TenantApp>): Promise<Response> {
  return c.json((await storedAt(c)).response)
}

/** `DELETE /v1/responses/{response}`. */
export async function deleteResponse(c: Context<TenantApp>): Promise<Response> {
  const id = pathParameter(c, 'response')
  if (!(await ownResponses(c).remove(id))) throw noResponse(id.slice(0, 64), 'response')
  return c.json({ id, object: 'response', deleted: true })
}

/** `GET /v1/responses/{response}/input_items`. */
export async function listInputItems(c: Context<TenantApp>): Promise<Response> {
  const { after, limit, order } = parseQuery(InputItemsQuery, c)
  const items = inputItems(await storedAt(c))
  const ordered = order === 'asc' ? items : items.toReversed()
  const from = after === undefined ? 0 : ordered.findIndex(({ id }) => id === after) + 1
  const data = ordered.slice(from, from + limit)
  return c.json({
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: from + limit < ordered.length,
  })
}

const storedAt = (c: Context<TenantApp>) =>
  storedResponse(pathParameter(c, 'response'), { own: ownResponses(c), param: 'response' })

function inputItems({ conversation, inputFrom, outputs = 1, response }: StoredResponse): InputItem[] {
  const name = response.id.slice('resp_'.length)
  return conversation.slice(inputFrom, conversation.length - outputs).map((item, at): InputItem => {
    if (!('role' in item)) return { id: `fc_${name}_${at}`, status: 'completed', ...item }
    const { content, role } = item
    return {
      id: `msg_${name}_${at}`,
      type: 'message',
      status: 'completed',
      role,
      content: [{ type: role === 'assistant' ? 'output_text' : 'input_text', text: content }],
    }
  })
}
