package pocketseg.demo

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.ImageFormat
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.media.Image
import android.media.ImageReader
import android.os.Handler
import android.os.HandlerThread
import pocketseg.live.FrameSource
import pocketseg.live.Latest
import pocketseg.live.Picture
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout
import kotlin.math.abs

/** The phone's camera through Camera2, on a thread of its own. [displayDegrees]: how far the display is turned now. */
class CameraSource(private val context: Context, private val front: Boolean, private val displayDegrees: () -> Int) : FrameSource {
    private val thread = HandlerThread("camera")
    private lateinit var handler: Handler
    private var device: CameraDevice? = null
    private var reader: ImageReader? = null
    private var layout: YuvLayout? = null
    private var opening = false
    @Volatile private var stopped = false

    override fun start(frames: Latest, failed: (String) -> Unit) {
        thread.start()
        handler = Handler(thread.looper)
        handler.post {
            try {
                open(frames, failed)
            } catch (error: CameraAccessException) {
                refused(failed, "The camera cannot be used now: ${error.message}")
            } catch (error: SecurityException) {
                refused(failed, "The camera was not allowed: ${error.message}")
            } catch (error: IllegalArgumentException) {
                refused(failed, "The camera gives no usable picture: ${error.message}")
            }
        }
    }

    private fun refused(failed: (String) -> Unit, message: String) {
        opening = false
        failed(message)
    }

    @SuppressLint("MissingPermission") // the activity asks before it makes a source; a refusal arrives as SecurityException
    private fun open(frames: Latest, failed: (String) -> Unit) {
        val manager = context.getSystemService(CameraManager::class.java)
        val facing = if (front) CameraCharacteristics.LENS_FACING_FRONT else CameraCharacteristics.LENS_FACING_BACK
        val id = manager.cameraIdList.firstOrNull {
            manager.getCameraCharacteristics(it).get(CameraCharacteristics.LENS_FACING) == facing
        } ?: return failed(if (front) "This phone has no front camera." else "This phone has no back camera.")
        val about = manager.getCameraCharacteristics(id)
        val sizes = about.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP)!!.getOutputSizes(ImageFormat.YUV_420_888)
        val size = sizes.minByOrNull { abs(it.width * it.height - WANTED.pixels) }!!
        val sensor = about.get(CameraCharacteristics.SENSOR_ORIENTATION)!!
        val reader = ImageReader.newInstance(size.width, size.height, ImageFormat.YUV_420_888, 3)
        this.reader = reader
        var degrees = -1
        var orientation = Orientation()
        reader.setOnImageAvailableListener({
            val image = it.acquireLatestImage() ?: return@setOnImageAvailableListener
            if (degrees != displayDegrees()) {
                degrees = displayDegrees()
                orientation = Orientation.ofCamera(sensor, degrees, front)
            }
            layout = frames.back.copy(image, layout, orientation, YuvColours.FULL_601)
            image.close()
            if (!stopped) frames.publish()
        }, handler)
        opening = true
        manager.openCamera(id, Opened(reader, failed), handler)
    }

    private inner class Opened(private val reader: ImageReader, private val failed: (String) -> Unit) : CameraDevice.StateCallback() {
        override fun onOpened(camera: CameraDevice) {
            device = camera
            opening = false
            if (stopped) return finish()
            val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
            request.addTarget(reader.surface)
            val running = object : CameraCaptureSession.StateCallback() {
                override fun onConfigured(session: CameraCaptureSession) {
                    try {
                        if (!stopped) session.setRepeatingRequest(request.build(), null, handler)
                    } catch (error: CameraAccessException) {
                        failed("The camera stopped: ${error.message}")
                    } catch (_: IllegalStateException) { // closed in the meantime
                    }
                }

                override fun onConfigureFailed(session: CameraCaptureSession) = failed("The camera refused its settings.")
            }
            @Suppress("DEPRECATION") // its successor needs API 28
            camera.createCaptureSession(listOf(reader.surface), running, handler)
        }

        override fun onDisconnected(camera: CameraDevice) =
            lost(camera, "Another app took the camera. Come back to this one to take it again.")

        override fun onError(camera: CameraDevice, error: Int) = lost(camera, "The camera failed (error $error).")

        private fun lost(camera: CameraDevice, message: String) {
            opening = false
            camera.close()
            if (stopped) finish() else failed(message)
        }
    }

    override fun stop() {
        stopped = true
        handler.post { if (!opening) finish() } // else when the system has answered, or the camera would stay open
        thread.join(1000)
    }

    private fun finish() {
        device?.close()
        reader?.close()
        thread.quitSafely()
    }

    private companion object {
        val WANTED = Size(640, 480)
    }
}

/** Copy an image's planes; gives the layout to hand in with the next image, so that equal ones are not made again. */
fun Picture.copy(image: Image, known: YuvLayout?, orientation: Orientation, colours: YuvColours): YuvLayout {
    val (luma, u, v) = image.planes
    val crop = image.cropRect
    val layout =
        if (known != null && known.size.width == crop.width() && known.size.height == crop.height() &&
            known.lumaStride == luma.rowStride && known.chromaStride == u.rowStride && known.chromaPixelStride == u.pixelStride
        ) known
        else YuvLayout(Size(crop.width(), crop.height()), luma.rowStride, u.rowStride, u.pixelStride)
    val lumaStart = crop.top * luma.rowStride + crop.left
    val chromaStart = crop.top / 2 * u.rowStride + crop.left / 2 * u.pixelStride
    luma.buffer.position(lumaStart)
    u.buffer.position(chromaStart)
    v.buffer.position(chromaStart)
    frame(layout, luma.buffer.remaining(), maxOf(u.buffer.remaining(), v.buffer.remaining()), orientation, colours)
    luma.buffer.get(y, 0, luma.buffer.remaining())
    u.buffer.get(this.u, 0, u.buffer.remaining())
    v.buffer.get(this.v, 0, v.buffer.remaining())
    return layout
}
