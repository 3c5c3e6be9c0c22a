// One turn over gRPC, straight from the protos: node turn.mjs "I made it!" [SESSION] [HOST:PORT]
//
// Events come in this order: state, affect, delta…, late_affect if it comes in time, done.
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const [text = "I made it!", sessionId = "", address = "localhost:50051"] = process.argv.slice(2);

const protos = fileURLToPath(new URL("../../protos", import.meta.url));
const definition = protoLoader.loadSync("limbic/gateway/v1/gateway.proto", {
  includeDirs: [protos],
  keepCase: true,
  enums: String,
  longs: String,
  defaults: true,
  oneofs: true,
});
const { limbic } = grpc.loadPackageDefinition(definition);
const gateway = new limbic.gateway.v1.GatewayService(address, grpc.credentials.createInsecure(), {
  // Without this, a proxy in the environment is asked even for this machine.
  "grpc.enable_http_proxy": 0,
});

const percent = (value) => `${Math.round(100 * value)} %`;

function show(response) {
  switch (response.event) {
    case "affect":
    case "late_affect": {
      const { status, reading, state, reason } = response[response.event];
      console.error(`[${status}${reason ? `: ${reason}` : ""}]`);
      for (const { label, probability, active } of reading?.emotions ?? []) {
        if (active) console.error(`[${label} ${percent(probability)}]`);
      }
      for (const { name, value, band } of state?.levels ?? []) console.error(`[${name} ${value.toFixed(1)} ${band}]`);
      break;
    }
    case "delta":
      process.stdout.write(response.delta.text);
      break;
    case "done": {
      const { session_id, turn_id, degraded_reasons } = response.done.trace;
      process.stdout.write("\n");
      console.error(`[session ${session_id}, turn ${turn_id}, reply ${response.done.reply_turn_id}]`);
      for (const reason of degraded_reasons) console.error(`[degraded: ${reason}]`);
      break;
    }
  }
}

// Every call has a deadline. Leaving early: call.cancel(), and the model stops.
const call = gateway.Turn({ session_id: sessionId, text }, { deadline: Date.now() + 120_000 });
try {
  for await (const response of call) show(response);
} catch (error) {
  console.error(`${grpc.status[error.code]}: ${error.details}`);
  process.exitCode = 1;
} finally {
  gateway.close();
}
