import { z } from 'zod'
import {
  BackboneList,
  ChangeKeyRequest,
  ChangeTenantRequest,
  CreateKeyRequest,
  CreateKeyResponse,
  CreateTenantRequest,
  KeySummary,
  PutBackboneRequest,
  TenantList,
  TenantSummary,
} from '../../shared/api/admin.ts'
import { AuditEntry, AuditPage } from '../../shared/api/audit.ts'
import {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
} from '../../shared/api/chat-completions.ts'
import { Completion, CompletionRequest } from '../../shared/api/completions.ts'
import {
  AdapterList,
  AdapterSummary,
  AliasDetail,
  AliasList,
  AliasSummary,
  CanaryEndRequest,
  DeleteAliasRequest,
  Deployment,
  History,
  PublishResponse,
  PutAliasRequest,
  PutCanaryRequest,
  PutShadowRequest,
  RollbackRequest,
  ShadowEndRequest,
} from '../../shared/api/deployments.ts'
import { EmbeddingList, EmbeddingsRequest } from '../../shared/api/embeddings.ts'
import { ErrorBody, StreamError } from '../../shared/api/error.ts'
import { FleetNodeSummary, FleetResponse } from '../../shared/api/fleet.ts'
import {
  CountTokensRequest,
  MessageEvent,
  MessageObject,
  MessagesRequest,
  MessagesTokenCount,
} from '../../shared/api/messages.ts'
import { Model, ModelList } from '../../shared/api/models.ts'
import { CompletionUsage } from '../../shared/api/parameters.ts'
import { TenantPolicy } from '../../shared/api/policy.ts'
import {
  DeletedResponse,
  InputItem,
  InputItemList,
  ResponseEvent,
  ResponseObject,
  ResponsesRequest,
} from '../../shared/api/responses.ts'
import { ShadowAnswer, ShadowAnswerList } from '../../shared/api/shadows.ts'
import { BudgetReport, UsageList, UsageRow } from '../../shared/api/usage.ts'
import { Heartbeat, HeartbeatResponse } from '../../shared/heartbeat.ts'

/** The schemas that the document names, by that name. */

/** Requests for text, of which the edge accepts fields that it does not know (http/generation-request.ts). */
const generationSchemas = {
  ChatCompletionRequest,
  CompletionRequest,
  ResponsesRequest,
  MessagesRequest,
  CountTokensRequest,
  EmbeddingsRequest,
} as const satisfies Record<string, z.ZodType>

/** The names of schemas that may have further fields. */
export const openSchemas: ReadonlySet<string> = new Set(Object.keys(generationSchemas))

/** The schemas of requests. */
export const requestSchemas = {
  ...generationSchemas,
  CreateTenantRequest,
  ChangeTenantRequest,
  CreateKeyRequest,
  ChangeKeyRequest,
  PutBackboneRequest,
  PutAliasRequest,
  DeleteAliasRequest,
  RollbackRequest,
  PutCanaryRequest,
  CanaryEndRequest,
  PutShadowRequest,
  ShadowEndRequest,
  Heartbeat,
} as const satisfies Record<string, z.ZodType>

export const ChatCompletionEvent = z.union([ChatCompletionChunk, StreamError])
export const CompletionEvent = z.union([Completion, StreamError])

/** The schemas of answers. */
export const responseSchemas = {
  ErrorBody,
  StreamError,
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionEvent,
  Completion,
  CompletionEvent,
  ResponseObject,
  ResponseEvent,
  InputItem,
  InputItemList,
  DeletedResponse,
  MessageObject,
  MessageEvent,
  MessagesTokenCount,
  EmbeddingList,
  CompletionUsage,
  Model,
  ModelList,
  AdapterSummary,
  AdapterList,
  AliasSummary,
  AliasDetail,
  AliasList,
  Deployment,
  History,
  ShadowAnswer,
  ShadowAnswerList,
  PublishResponse,
  TenantPolicy,
  TenantList,
  TenantSummary,
  KeySummary,
  CreateKeyResponse,
  BackboneList,
  FleetNodeSummary,
  FleetResponse,
  AuditEntry,
  AuditPage,
  UsageRow,
  UsageList,
  BudgetReport,
  HeartbeatResponse,
} as const satisfies Record<string, z.ZodType>
