package pocketseg.demo

import android.os.Process
import android.util.Log
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor
import org.tensorflow.lite.gpu.GpuDelegate
import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.ModelError
import pocketseg.model.ModelSpec
import pocketseg.model.Segmenter
import pocketseg.model.TensorSpec
import pocketseg.model.coverage
import pocketseg.model.openingLine
import pocketseg.pixels.Dtype
import pocketseg.pixels.Quantization
import java.nio.ByteBuffer

/** How the app opens a model; tests put a fake here, for the interpreter's library runs on Android alone. */
var openModel: (ModelSpec, ByteBuffer, Delegate, threads: Int) -> Segmenter = LiteRtSegmenter::open

/** A model in the interpreter of LiteRT (TensorFlow Lite). */
class LiteRtSegmenter private constructor(
    override val spec: ModelSpec, delegate: Delegate, threads: Int, opening: String,
    private val interpreter: Interpreter, private val gpu: GpuDelegate?,
) : Segmenter {
    override val device by lazy { Device(delegate, threads, coverage(ownLog(), opening)) }

    override fun run(input: ByteBuffer, output: ByteBuffer) {
        output.clear()
        interpreter.run(input, output)
    }

    override fun close() {
        interpreter.close()
        gpu?.close()
    }

    companion object {
        /** [model] is a direct buffer. Throws [ModelError] for a file that cannot run or does not fit its spec. */
        fun open(spec: ModelSpec, model: ByteBuffer, delegate: Delegate, threads: Int): LiteRtSegmenter {
            var gpu: GpuDelegate? = null
            var interpreter: Interpreter? = null
            val opening = openingLine().also { Log.i("PocketSeg", it) }
            try {
                val options = Interpreter.Options().setNumThreads(threads).setUseXNNPACK(delegate == Delegate.CPU)
                if (delegate == Delegate.GPU) {
                    gpu = GpuDelegate()
                    options.addDelegate(gpu)
                }
                interpreter = Interpreter(model, options)
                check(spec, interpreter)
                return LiteRtSegmenter(spec, delegate, threads, opening, interpreter, gpu)
            } catch (error: Exception) {
                interpreter?.close()
                gpu?.close()
                throw error as? ModelError ?: ModelError("${spec.name} cannot run on the $delegate: ${error.message}")
            } catch (error: LinkageError) { // no native library for this processor
                interpreter?.close()
                throw ModelError("This build of the app cannot run models on the $delegate here: ${error.message}")
            }
        }

        private fun check(spec: ModelSpec, interpreter: Interpreter) {
            if (interpreter.inputTensorCount != 1 || interpreter.outputTensorCount != 1) {
                throw ModelError(
                    "${spec.name} has ${interpreter.inputTensorCount} inputs and ${interpreter.outputTensorCount} outputs; " +
                        "this app runs models with one of each.",
                )
            }
            val difference = difference(spec.input, interpreter.getInputTensor(0), "input")
                ?: difference(spec.output, interpreter.getOutputTensor(0), "output") ?: return
            throw ModelError("${spec.name} does not fit its spec: $difference. Take the .tflite and .json of one conversion.")
        }

        private fun difference(spec: TensorSpec, tensor: Tensor, what: String): String? {
            val dtype = when (tensor.dataType()) {
                DataType.UINT8 -> Dtype.UINT8
                DataType.INT8 -> Dtype.INT8
                DataType.FLOAT32 -> Dtype.FLOAT32
                else -> null
            }
            val parameters = tensor.quantizationParams()
            return spec.difference(tensor.shape(), dtype, Quantization(parameters.scale, parameters.zeroPoint), what)
        }

        /** The app's own lines of the log, the last 200; empty where the system does not give them. */
        private fun ownLog(): String =
            try {
                val command = arrayOf("logcat", "-d", "-t", "200", "-v", "raw", "--pid", Process.myPid().toString())
                Runtime.getRuntime().exec(command).inputStream.bufferedReader().use { it.readText() }
            } catch (_: java.io.IOException) {
                ""
            }
    }
}
