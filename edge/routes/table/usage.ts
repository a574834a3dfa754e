import { z } from 'zod'
import { everyScope } from '../../../shared/api/scopes.ts'
import { AdminUsageQuery, BudgetReport, UsageList, UsageQuery } from '../../../shared/api/usage.ts'
import { TenantId } from '../../../shared/ids.ts'
import { type AnswerDescription, json } from '../../openapi/operation.ts'
import { getAllUsage, getBudget, getOwnBudget, getUsage } from '../usage.ts'
import type { Route } from './route.ts'

const rows: AnswerDescription = {
  status: 200,
  description:
    'A page of rows, one for each day, key and model; CSV with `format=csv` or `accept: text/csv`.',
  content: { 'application/json': UsageList, 'text/csv': z.string() },
  headers: ['content-disposition', 'x-quartet-next-after'],
}

export const usageRoutes: readonly Route[] = [
  {
    method: 'get',
    path: '/v1/usage',
    id: 'getUsage',
    handle: getUsage,
    tag: 'Usage',
    summary: 'Show what was used, by UTC day, key and model',
    auth: 'tenant',
    scopes: everyScope,
    query: UsageQuery,
    answer: rows,
    errors: ['control_unavailable'],
  },
  {
    method: 'get',
    path: '/v1/budget',
    id: 'getOwnBudget',
    handle: getOwnBudget,
    tag: 'Usage',
    summary: 'Show how the limits stand, and what was reached of the budgets',
    auth: 'tenant',
    scopes: everyScope,
    answer: json('Spent, held and left.', BudgetReport),
    errors: ['control_unavailable'],
  },
  {
    method: 'get',
    path: '/admin/v1/usage',
    id: 'getAllUsage',
    handle: getAllUsage,
    tag: 'Usage',
    summary: 'Show what was used by one tenant, or by all',
    auth: 'admin',
    query: AdminUsageQuery,
    answer: rows,
    errors: ['control_unavailable'],
  },
  {
    method: 'get',
    path: '/admin/v1/tenants/{id}/budget',
    id: 'getBudget',
    handle: getBudget,
    tag: 'Usage',
    summary: "Show how a tenant's limits stand",
    auth: 'admin',
    parameters: { id: TenantId },
    answer: json('Spent, held and left.', BudgetReport),
    errors: ['not_found', 'control_unavailable'],
  },
]
